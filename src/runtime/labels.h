#pragma once

#include "coppice/os/fd.h"
#include "coppice/runtime/spec.h"

#include <string>

namespace coppice::runtime {

/// The label that a security module of the kernel gives to the next program that this process executes.
///
/// Opened while the process still sees the host's /proc, and written at the very end: nothing that an image or another
/// container mounts over /proc can catch the write (CVE-2019-16884, CVE-2025-52881), and hooks do not get the label.
class ExecLabels {
public:
    /// Errors: Unsupported (the kernel lacks the module), naming the member
    static Result<ExecLabels> open(const ProcessSpec& process);
    /// By the process that opened it. Errors: Invalid (no such profile or label)
    Result<> write() const;

private:
    os::Fd apparmor_, selinux_;
    std::string profile_, label_;
};

/// A file of /proc/self/attr for writing, whatever may be mounted on the way there. Errors: Denied (/proc, or a part of
/// it, is not the kernel's own)
Result<os::Fd> open_label_file(const std::string& name);

/// Whether SELinux is on: only then mounts take a context.
bool selinux_is_on();

} // namespace coppice::runtime
