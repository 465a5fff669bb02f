#pragma once

#include "coppice/base/result.h"
#include "coppice/os/fd.h"
#include "coppice/os/id_map.h"

/// Who this process is to the kernel, and how an ordinary user becomes root of a user namespace of its own.
/// Source: user_namespaces(7). Single-threaded callers only.
namespace coppice::os {

/// User 0 of the initial user namespace. Whoever else calls itself root has rights over its own namespaces only: it
/// makes no device nodes, loads no device filters, and has the cgroups that were handed to it, if any.
bool is_host_root();

/// Whether this user namespace forbids setgroups(2): /proc/self/setgroups says "deny".
bool are_groups_fixed();

/// Makes this process root of a new user namespace and of a new mount namespace in it, from which nothing mounted gets
/// out. Ranges beyond the caller's own id are mapped by newuidmap(1) and newgidmap(1), as /etc/subuid and /etc/subgid
/// allow. Blocks for some milliseconds. Errors: Denied (ids that are not ours), NotFound (newuidmap is not installed)
Result<> become_root_of_new_namespaces(const UserMapping& mapping);

/// Enters a user namespace that this user owns, and becomes root there.
Result<> become_root_of(const Fd& user_namespace);

/// Becomes user and group 0 of the user namespace that this process is in.
Result<> become_root();

} // namespace coppice::os
