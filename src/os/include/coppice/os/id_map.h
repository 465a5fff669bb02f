#pragma once

#include "coppice/os/fd.h"

#include <cstdint>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace coppice::os {

/// One line of uid_map/gid_map: `size` ids from `inside` on are `outside` on the host. Source: user_namespaces(7)
struct IdMapping {
    std::uint32_t inside = 0, outside = 0, size = 0;
    bool operator==(const IdMapping&) const = default;
};
using IdMap = std::vector<IdMapping>;

struct UserMapping {
    IdMap uids, gids;
    bool operator==(const UserMapping&) const = default;
};

/// Checks against the kernel's rules: 1 to 340 ranges, none empty, none wrapping, none overlapping on either side.
/// Errors: Invalid
Result<> check_id_map(const IdMap& map);

/// The host id of an inside id; empty when it is not mapped.
std::optional<std::uint32_t> to_outside(const IdMap& map, std::uint32_t inside);

/// Writes the maps of the user namespace that process `pid` is in. For an ordinary user newuidmap(1) and newgidmap(1)
/// write what goes beyond its own id. Errors: Denied (no right to these ids), NotFound (newuidmap is not installed)
Result<> write_id_maps(pid_t pid, const UserMapping& mapping);

/// A user namespace with this mapping and no process in it, for id-mapped mounts.
/// Forks a helper for a moment: call from single-threaded programs only.
Result<Fd> make_user_namespace(const UserMapping& mapping);

} // namespace coppice::os
