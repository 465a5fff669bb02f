#pragma once

#include "coppice/os/id_map.h"
#include "coppice/os/mount_places.h"
#include "coppice/store/shortcut.h"
#include "coppice/vdisk/layer_mounts.h"
#include "coppice/vdisk/releaser.h"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace coppice::vdisk {

/// What the mount table shows as the source of a snapshot or branch begins with.
inline constexpr const char* kMountSource = "coppice:";

/// Whose ids files appear with.
struct InstanceIds {
    const os::Fd* user_namespace = nullptr; ///< borrowed
    os::UserMapping mapping;                ///< that it has; with id 0
};

/// What may be done through a mount.
struct MountUse {
    bool devices = false;           ///< device nodes work
    bool set_uid = false;           ///< set-user-id programs and file capabilities count
    bool throw_away = false;        ///< what is written will be undone: nothing of it is synced (option "volatile")
    std::optional<InstanceIds> ids; ///< else those on the disk. Needs file systems that allow id-mapped mounts
};

/// A snapshot or working layer as a file tree, not attached anywhere yet.
struct StackedMount {
    os::Fd mount;
    std::size_t layers = 0;                                ///< that it was stacked from, without the working layer
    std::string how;                                       ///< "EROFS from files, overlay of 3 layers"
    std::vector<std::shared_ptr<const LayerMount>> shared; ///< later mounts share their page cache while these live
};

/// A mount at a path that a user gave.
struct MountRecord {
    std::string id = {};   ///< also of the lease that keeps its layers
    std::string path = {}; ///< absolute, links resolved
    store::SnapshotId snapshot = {};
    std::string working = {};              ///< name of the working layer, or empty: read-only
    bool devices = false, set_uid = false; ///< as in MountUse
    std::uint64_t device = 0;              ///< st_dev of what is mounted
    std::uint64_t replaces = 0;            ///< st_dev of what is to make way for it, while that lasts; 0: nothing
    std::string how = {};                  ///< as in StackedMount
};

/// Mounts snapshots, and working layers over them. Any thread.
///
/// Before the layers of a snapshot are looked up a lease is taken on it, so that neither the snapshot nor a frozen
/// directory of its line goes away as long as it is in use.
class SnapshotMounts {
public:
    static Result<std::unique_ptr<SnapshotMounts>> make(store::Store& store, LayerPath best = LayerPath::Files);

    /// The snapshot, read-only. @param holder names the use: the lease, until `release`; 1 to 128 bytes
    /// Errors: NotFound, Corrupt, Unavailable (more than 500 layers), Unsupported
    Result<StackedMount> open(const store::SnapshotId& snapshot, const std::string& holder, const MountUse& use = {});
    /// The snapshot below a working layer seen through it, writable. One use at a time is for the caller to see to.
    Result<StackedMount> open_working(const std::string& name, const std::string& holder, const MountUse& use = {});
    /// Ends uses, in one transaction. The mounts must be gone.
    Result<> release(std::span<const std::string> holders);
    Result<> release(const std::string& holder) { return release({&holder, 1}); }

    /// Mounts at a directory of the caller's mount namespace. Recorded, so that it is found after a restart.
    /// Errors: as `open`; Conflict (something of ours is mounted there; the working layer is mounted)
    Result<MountRecord> attach(const store::SnapshotId& snapshot, const std::string& path, const MountUse& use = {});
    Result<MountRecord> attach_working(const std::string& name, const std::string& path, const MountUse& use = {});
    /// A working layer is not synced for it, as the kernel does when an overlay goes: that happens in the background,
    /// and what counts is Sealer::make_durable. Errors: NotFound (nothing of ours there), Conflict (in use)
    Result<> detach(const std::string& path);
    /// Nobody writes through the mount of a working layer while `body` works on the layer; afterwards, whether it
    /// succeeded or not, the mount shows the layer over what is below it then. What is below the mount point is not
    /// seen in between (before Linux 6.5: for a moment). Other mounts and unmounts wait.
    /// A mount that propagation has put at the same path of other mount namespaces goes along.
    /// Errors: those of `body`; Conflict, `body` was not called: it is in use, covered by another mount, or mounted at
    /// another place, too (what is held by descriptors of a detached mount is not seen); as `attach_working`, and it is
    /// not mounted any more
    Result<> while_quiet(const MountRecord& record, const std::function<Result<>()>& body);
    /// Whatever of the snapshot's layers has to be made before they can be mounted, which may take long. It is kept
    /// while the result lives. Errors: those of `open`
    Result<std::shared_ptr<void>> make_ready(const store::SnapshotId& snapshot);
    /// After a start: finishes what a killed process was at in `while_quiet`. What cannot be finished is logged, and
    /// left as it is. The layers must be recovered. @param check_usable of a working layer
    Result<> recover(const std::function<Result<>(const std::string& working)>& check_usable);
    /// The root of what is mounted, by its path. Errors: Conflict (something else is there)
    Result<os::Fd> open_place(const MountRecord& record) const;
    /// Those that are mounted now.
    Result<std::vector<MountRecord>> records() const;
    /// After a start: forgets mounts that are gone, with their leases. @returns how many
    Result<std::size_t> forget_dead();

private:
    SnapshotMounts(store::Store& store, std::shared_ptr<const os::MountSpace> space, LayerPath best)
        : store_{&store}, space_{space}, layers_{store, std::move(space), best}
    {
    }
    struct Stack {
        std::vector<std::string> lowers; ///< inside the space
        std::vector<std::shared_ptr<const LayerMount>> layers;
    };
    Result<Stack> stack_by(const store::SnapshotId& snapshot, const std::vector<store::StackPart>& parts);
    Result<Stack> stack_of(const store::SnapshotId& snapshot);
    Result<StackedMount> open_stack(const store::SnapshotId& snapshot, const std::string& working, const MountUse& use);
    Result<std::size_t> forget_dead_locked();
    Result<MountRecord> attach_recorded(MountRecord record, const MountUse& use);
    /// @param put attaches a mount at a path
    Result<MountRecord> attach_locked(MountRecord record, const MountUse& use,
                                      const std::function<Result<>(int, const std::string&)>& put);
    /// A container that is just being started has all mounts of the host until it leaves them.
    enum class Transient : unsigned char { Awaited, Refused };
    Result<std::vector<os::MountPlace>> followers_of(const MountRecord& record, Transient transient) const;
    Result<> stop_writers(const MountRecord& record);
    Result<> stop_noted(const MountRecord& record, std::vector<os::MountPlace>& stopped);
    Result<> recover_one(MountRecord record);
    Result<> renew_locked(MountRecord record);
    Result<> unmount_locked(const MountRecord& record);

    store::Store* store_;
    Releaser releaser_;
    std::shared_ptr<const os::MountSpace> space_;
    LayerMounts layers_;
    std::mutex mutex_; ///< of attach and detach, and of `kept_`
    std::map<std::string, std::vector<std::shared_ptr<const LayerMount>>> kept_; ///< by record
};

} // namespace coppice::vdisk
