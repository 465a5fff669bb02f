#pragma once

#include "coppice/base/result.h"

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace coppice::instance {

/// A system call filter from a file as docker and podman take it, checked as far as it can be without compiling it.
/// Errors: those of reading the file; Invalid or Unsupported, naming the member
Result<std::string> read_seccomp_profile(const std::string& path);

/// Such a profile as the `linux.seccomp` object of OCI: rules that go with a capability, a processor or a kernel stay
/// or go. A member that is OCI's own passes as it is. Source: docker's seccomp profiles, "archMap", "includes" and
/// "excludes"
/// @param capabilities the bounding set of the instance, in the form "CAP_SYS_ADMIN"
nlohmann::json to_oci_seccomp(const nlohmann::json& profile, const std::vector<std::string>& capabilities);

} // namespace coppice::instance
