#pragma once

#include "coppice/vdisk/snapshot_mounts.h"

namespace coppice::vdisk {

/// The mounts at users' paths, one file each: mounts/ID.json below the store's directory.
///
/// A file is written before the mount is attached and removed after it is gone, so that none is forgotten. Whether it
/// is still there, the path itself says: same boot of the machine, same file system.

Result<> write_mount_record(const store::Store& store, const MountRecord& record);
Result<> remove_mount_record(const store::Store& store, const std::string& id);

struct FoundRecord {
    MountRecord record;
    bool mounted = false;
    bool of_this_boot = false; ///< of the machine
};
/// A damaged file counts as a mount that is gone.
Result<std::vector<FoundRecord>> read_mount_records(const store::Store& store);

} // namespace coppice::vdisk
