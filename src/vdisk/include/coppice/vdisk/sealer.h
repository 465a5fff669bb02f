#pragma once

#include "coppice/base/turn.h"
#include "coppice/store/snapshot.h"

#include <condition_variable>
#include <functional>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace coppice::vdisk {

/// Brings frozen snapshots further: durable, then sealed; and takes them away. Any thread; one seals at a time.
/// See docs/design/storage.md, section "Three states".
class Sealer {
public:
    explicit Sealer(store::Store& store) : store_{&store} {}

    using GoOn = std::function<bool()>; ///< asked again and again; false: stop as soon as is safe

    enum class Doubtful : unsigned char {
        Refuse,
        Accept, ///< what is there is what shall be kept, even though there may be holes in it
    };
    /// Syncs the snapshot and all that it comes from, and records it. After a failed sync everything that is only
    /// frozen, and what branches hold, is doubtful: a second try would succeed without what was lost. Errors: NotFound;
    /// Corrupt (the machine went down before it was on the disk, or a sync failed: what is there is not known to be
    /// complete)
    Result<> make_durable(const store::SnapshotId& id, Doubtful doubtful = Doubtful::Refuse);

    /// Turns the snapshot's frozen directory into a layer and signs it, ancestors first. Killed at any point, the next
    /// call goes on with what is not done; chunks already written are found again. Nothing happens to a sealed one.
    /// Errors: as make_durable; Unsupported (something no layer can hold)
    /// Unavailable (`go_on` said no)
    Result<> seal(const store::SnapshotId& id, const GoOn& go_on = [] { return true; });

    struct Sealed {
        std::vector<store::SnapshotId> done, doubtful;
        std::vector<std::pair<store::SnapshotId, Error>> failed; ///< the others were gone on with
    };
    /// Everything that is not sealed; doubtful ones, those that fail and what comes from them are left alone.
    Result<Sealed> seal_all(const GoOn& go_on = [] { return true; });

    /// Takes away frozen directories that have become layers and that nobody has mounted. @returns how many
    Result<std::size_t> remove_sealed_directories();
    /// Deletes what was taken away, which may take long: in the background, after removals and after a start.
    Result<> sweep();

    /// The snapshot, and its frozen directory if it still has one, which `sweep` deletes. If it is being sealed, that
    /// is stopped first. Errors: as store::remove_snapshot
    Result<> remove(const store::SnapshotId& id);
    /// Several at once, or none.
    /// @param change removes their rows, and whatever goes with them. Errors: its own
    Result<> remove(std::span<const store::SnapshotId> ids, const std::function<Result<>(store::Txn&)>& change);

    /// After a start: finishes removals. @returns frozen directories that no row knows; they are kept
    Result<std::vector<std::string>> recover();

private:
    class Claim;
    Result<bool> is_doubtful(const store::Snapshot& snapshot);
    Result<> mark_all_doubtful();
    Result<> sync();
    Result<> seal_claimed(const store::SnapshotId& id, const GoOn& go_on);
    Result<> seal_one(const store::Snapshot& snapshot, const GoOn& go_on);
    Result<> finish_removal(int frozen, const store::SnapshotId& id);

    store::Store* store_;
    Turn sealing_;          ///< one seal at a time; nothing else waits for it
    std::mutex syncing_;    ///< a failed sync is marked before anybody looks again
    std::mutex sweeping_;   ///< never taken with another one
    bool unmarked_ = false; ///< a failed sync could not be marked. Guarded by syncing_, as all of marking
    std::mutex claims_;     ///< of what follows
    std::condition_variable released_;
    std::set<store::SnapshotId> claimed_;       ///< whose directories are read or moved
    std::multiset<store::SnapshotId> unwanted_; ///< that somebody waits to remove
};

} // namespace coppice::vdisk
