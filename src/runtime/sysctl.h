#pragma once

#include "coppice/base/result.h"
#include "coppice/runtime/spec.h"

namespace coppice::runtime {

/// The kind of namespace (CLONE_NEW*) that a kernel parameter belongs to; 0: it is the host's.
std::uint64_t namespace_of_sysctl(const std::string& name);

/// Refuses kernel parameters that would change the host: only those that belong to a namespace of the container's own.
/// Errors: Invalid
Result<> check_sysctls(const LinuxSpec& spec);

/// In init. Writes through a procfs instance of its own, so that nothing mounted over /proc can redirect a write
/// (CVE-2025-52881).
Result<> write_sysctls(const LinuxSpec& spec);

} // namespace coppice::runtime
