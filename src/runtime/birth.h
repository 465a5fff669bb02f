#pragma once

#include "coppice/os/process.h"
#include "coppice/runtime/spec.h"
#include "init.h"

#include <vector>

/// The birth of a container's init: the namespaces that it is born into or will join.
namespace coppice::runtime {

/// Opens the namespaces that are given by path. Errors: NotFound, Invalid (another kind, or the caller's own where
/// something of it would be changed)
/// @param names_given the host or domain name is to be set
Result<std::vector<NamespaceToJoin>> open_namespaces(const LinuxSpec& spec, bool names_given);

/// clone3, born into the namespaces that have to be entered before birth: the pid namespace always, the others when the
/// container has a user namespace, from which it would not be allowed to. The caller is back in its own afterwards.
/// @param cgroup directory of the v2 cgroup to be born in; not open: the caller's
Result<os::ForkResult> clone_init(const std::vector<NamespaceToJoin>& namespaces, const LinuxSpec& spec,
                                  const os::Fd& cgroup);

} // namespace coppice::runtime
