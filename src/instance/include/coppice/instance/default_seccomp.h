#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

namespace coppice::instance {

/// The default seccomp filter of an instance, as the `linux.seccomp` object of the OCI runtime
/// specification (config-linux.md, section "Seccomp").
///
/// @param capabilities  the bounding capabilities of the instance, in the form "CAP_SYS_ADMIN";
///     system calls that only make sense with a capability are allowed only with it. Names that
///     the filter does not know change nothing.
/// @param whole_system  name_to_handle_at is let through, which podman has for everybody
///
/// What programs in the instance see:
///  - a call that is not named answers ENOSYS (the default action), so that programs fall back as
///    they do on an older kernel; this includes clone3 without CAP_SYS_ADMIN, the key rings, and
///    all system calls younger than libseccomp 2.5.4
///  - a call refused on purpose, or for want of a capability, answers EPERM
///  - a socket family or protocol that is not let through answers what a kernel without it answers
///    (EAFNOSUPPORT, EPROTONOSUPPORT)
///
/// What the reader of the object can rely on:
///  - every name is known to libseccomp 2.5.4, if only for another architecture, and stands either
///    in one rule without arguments or in rules with arguments, never in both: libseccomp silently
///    drops the latter when it meets the former
///  - no rule has the default action (libseccomp answers EACCES to such a rule)
///  - the rules must be added in the given order: `socketcall` before `socket` (see the source)
///
/// Not covered: on 32-bit x86 `socketcall` passes the socket family behind a pointer, which a
/// filter cannot read. Families are kept out there only by an AppArmor or SELinux rule or by not
/// having the module on the host.
///
/// Pure; any thread. Throws only when memory runs out.
nlohmann::json default_seccomp(const std::vector<std::string>& capabilities, bool whole_system = false);

} // namespace coppice::instance
