#pragma once

#include "coppice/base/result.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace coppice::os {

/// Where a file system is mounted.
struct MountPlace {
    std::string point = {}; ///< as the process sees it
    pid_t process = 0;      ///< one in whose mount namespace it is; 0: ours
    bool follows = false;   ///< in another namespace at the same path, made by propagation: it goes when ours goes
    bool read_only = false; ///< the mount; the file system may be so besides
    [[nodiscard]] std::string text() const; ///< "/srv/m", "/data (process 4711)"
};
/// In whatever mount namespace some process has. Each place once per namespace. What is held by descriptors alone is
/// not seen. Blocks for some milliseconds.
/// @param device its st_dev, and `source` what it was mounted from, because numbers are used again
Result<std::vector<MountPlace>> find_mounts(std::uint64_t device, std::string_view source);
/// Makes a mount of another namespace read-only, or writable again: what is set at ours does not reach it.
/// Errors: as set_mount_attributes (EBUSY: something in it is open for writing); NotFound (the process has gone);
/// Conflict (something else than `device` is there: it is covered, or the process is another one by now)
Result<> set_place_read_only(const MountPlace& place, std::uint64_t device, bool read_only);

} // namespace coppice::os
