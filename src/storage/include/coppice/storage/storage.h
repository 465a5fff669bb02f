#pragma once

#include "coppice/storage/background.h"
#include "coppice/vdisk/flattener.h"
#include "coppice/vdisk/sealer.h"
#include "coppice/vdisk/snapshot_mounts.h"
#include "coppice/vdisk/snapshot_trees.h"
#include "coppice/vdisk/working_layers.h"

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace coppice::storage {

/// What a new snapshot is to have become before anybody is told; see docs/design/storage.md, "Three states".
enum class Reach : unsigned char { Frozen, Durable, Sealed };

/// A node's storage as a whole: the store and all that works on it, recovered and at work. One per process and root;
/// any thread. Blocks.
class Storage {
public:
    /// Opens or makes the store, finishes what a killed process had begun, and starts the work in the background.
    /// Errors: as Store::open, and those of recovery
    static Result<std::unique_ptr<Storage>> open(const std::string& root, Background::Options options = {});

    [[nodiscard]] store::Store& store() { return *store_; }
    [[nodiscard]] vdisk::SnapshotMounts& mounts() { return *mounts_; }
    [[nodiscard]] vdisk::WorkingLayers& layers() { return layers_; }
    [[nodiscard]] vdisk::Sealer& sealer() { return sealer_; }
    [[nodiscard]] vdisk::SnapshotTrees& trees() { return trees_; }

    /// As SnapshotMounts::attach_working and detach, but not while something else is done with a working layer.
    Result<vdisk::MountRecord> mount(const std::string& working, const std::string& path, const vdisk::MountUse& use);
    Result<> unmount(const std::string& path);
    /// A working layer as the root of an instance, until `end_use`: nothing else is done with it meanwhile. Outlives
    /// the process: after a restart `resume_use` says that it is still so. Errors: as `mount`; Conflict
    Result<os::Fd> use(const std::string& working, const vdisk::MountUse& use);
    void resume_use(const std::string& working);
    [[nodiscard]] bool is_in_use(const std::string& working) const;
    /// The mount must be gone. One that is not in use is fine. Waits for a capture, which ends soon.
    /// @param settle makes of the layer what it is to be; until that is done it is among `uses`. Its errors leave it
    /// there
    Result<> end_use(const std::string& working, const std::function<Result<>()>& settle = [] { return Result<>{}; });
    /// New, empty layers for instances, all or none: from here on they are among `uses`, whatever becomes of this
    /// process. Errors: as WorkingLayers::create
    Result<> make_for_use(std::span<const std::string> working, const store::SnapshotId& snapshot);
    /// Their use ends before it has begun.
    Result<> release(std::span<const std::string> working);
    /// Of an instance that is to go: the layer goes, and is among `uses` until `end_use`, when all of it has gone.
    /// Errors: as `remove`
    Result<> remove_for_use(const std::string& working);
    /// Names of layers that were made, used or removed for instances and whose use has not ended.
    Result<std::vector<std::string>> uses() const;
    /// Working layers and snapshots, all or none; readers that have gone without a word are no hindrance.
    /// @param change removes the snapshots' rows, and whatever goes with them
    Result<> remove(
        const std::vector<std::string>& working, std::span<const store::SnapshotId> ids,
        const std::function<Result<>(store::Txn&)>& change = [](store::Txn&) { return Result<>{}; });
    /// As WorkingLayers::rename, but not while it is in use.
    Result<> rename(const std::string& working, const std::string& to);
    /// Freezes a working layer; the background seals the snapshot. One that is mounted at a path is mounted anew.
    /// Errors: as WorkingLayers::freeze; Conflict (something in it is open)
    Result<store::Snapshot> snapshot(const std::string& working, const vdisk::FreezeNote& note);
    /// As WorkingLayers::capture, of one that is in use. Another capture of it is waited for; the end of its use ends
    /// this one. Errors: also Conflict (not in use, or not any more)
    Result<vdisk::Captured> capture(const std::string& working, const vdisk::FreezeNote& note,
                                    const vdisk::Quiet& quiet, const store::Watch& watch);
    /// Brings a snapshot to `reach`. Errors: those of Sealer, saying what it has become
    Result<store::Snapshot>
    bring(const store::SnapshotId& id, Reach reach, const vdisk::Sealer::GoOn& go_on = [] { return true; });
    /// Durable first, then sealed. Errors: those of Sealer
    Result<> seal(const store::SnapshotId& id, vdisk::Sealer::Doubtful doubtful, const vdisk::Sealer::GoOn& go_on);
    /// As WorkingLayers::rollback, also when it is mounted. Errors: Conflict (something in it is open)
    Result<> rollback(const std::string& working, const store::SnapshotId& to,
                      const vdisk::WorkingLayers::Request& request = {});
    /// Writes files and directories of a snapshot into a working layer, mounted or not; see vdisk::write_tree.
    Result<> checkout(const std::string& working, const store::SnapshotId& from, const std::vector<std::string>& paths,
                      const store::Watch& watch = store::unwatched);

    /// There may be something to do in the background: what others put into the store needs it, too. Does not block.
    void wake() { background_->wake(); }

    /// While it lives nothing of the snapshots' lines goes away.
    class Lease {
    public:
        Lease(Lease&&) = default;
        Lease& operator=(Lease&&) = delete;
        ~Lease();

    private:
        friend class Storage;
        explicit Lease(vdisk::SnapshotMounts& mounts) : mounts_{&mounts} {}
        vdisk::SnapshotMounts* mounts_;
        std::vector<std::string> ids_;
    };
    enum class Keep : unsigned char {
        Directories, ///< against sealing, which takes frozen directories away: for what takes a moment
        Snapshots,   ///< against removal as well: for what takes long
    };
    /// Errors: NotFound
    Result<Lease> lease(const std::vector<store::SnapshotId>& snapshots, Keep keep = Keep::Directories);

private:
    Storage(std::unique_ptr<store::Store> store, std::unique_ptr<vdisk::SnapshotMounts> mounts)
        : store_{std::move(store)}, mounts_{std::move(mounts)}, layers_{*store_, *mounts_}, sealer_{*store_},
          trees_{*store_, sealer_}, flattener_{*store_, trees_}
    {
    }
    Result<> recover();
    [[nodiscard]] Result<> check_unused(const std::string& working) const;
    Result<std::shared_ptr<std::atomic<bool>>> begin_capture(const std::string& working);
    void end_capture(const std::string& working);
    /// @param next what it will lie on; empty: on what is made of it
    Result<> while_unmounted(const std::string& working, const std::optional<store::SnapshotId>& next,
                             const std::function<Result<>()>& body);

    std::unique_ptr<store::Store> store_;
    std::unique_ptr<vdisk::SnapshotMounts> mounts_;
    vdisk::WorkingLayers layers_;
    vdisk::Sealer sealer_;
    vdisk::SnapshotTrees trees_;
    vdisk::Flattener flattener_;
    mutable std::mutex
        working_; ///< one step with a working layer at a time: it has one writer, be it a user or checkout
    /// Working layers that instances run on, with the layers whose page cache later ones share. Under `working_`.
    std::map<std::string, std::vector<std::shared_ptr<const vdisk::LayerMount>>> in_use_;
    std::map<std::string, std::shared_ptr<std::atomic<bool>>> captures_; ///< true: end soon. Under `working_`
    std::condition_variable captured_;                                   ///< one has gone from there
    std::unique_ptr<Background> background_;                             ///< last: it uses the others
};

} // namespace coppice::storage
