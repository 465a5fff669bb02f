#pragma once

#include "channel.h"
#include "coppice/runtime/spec.h"

#include <string>

namespace coppice::runtime {

/// A system call filter as the kernel takes it: classic BPF instructions, 8 bytes each.
struct SeccompFilter {
    std::string program; ///< empty: no filter
    unsigned flags = 0;  ///< SECCOMP_FILTER_FLAG_*
};

/// A filter as bytes, for the init that installs it, and back.
std::string encode(const SeccompFilter& filter);
SeccompFilter decode_filter(const std::string& bytes);

/// Compiles a filter. System calls that this libseccomp does not know are left out, which is safe under a default
/// action that denies. Compiling takes milliseconds, so the result is kept below `cache` (a directory that only we may
/// write to) and found there the next time by its whole description. Errors: Invalid (unknown action, operator, ...)
Result<SeccompFilter> compile_seccomp(const SeccompSpec& spec, int cache);

/// Installs it for this process and all it will execute. Without no_new_privs it needs CAP_SYS_ADMIN.
/// @param peer hands its descriptor over when it has one, see listener.h
Result<> install_seccomp(const SeccompFilter& filter, const Channel& peer);

/// The words that the `seccomp` object may hold, as `features` tells them.
struct SeccompWords {
    std::vector<std::string> actions, operators, architectures, flags, supported_flags;
};
SeccompWords known_seccomp_words();

} // namespace coppice::runtime
