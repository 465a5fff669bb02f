#pragma once

#include "coppice/store/snapshot.h"
#include "coppice/store/watch.h"
#include "coppice/vdisk/snapshot_mounts.h"

#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace coppice::vdisk {

struct Step;

/// Who freezes, and what is said of it.
struct FreezeNote {
    std::string author; ///< 1 to 512 bytes
    std::string message;
    std::string schedule = {};                     ///< that has it done; empty: somebody
    std::string config = {};                       ///< OCI image configuration, or empty: the parent's
    std::optional<store::RequestKey> request = {}; ///< repeated, it gives the same snapshot
    /// What is entered with it, in the same transaction; its errors undo the freeze.
    std::function<Result<>(store::Txn&, const store::Snapshot&)> also = {};
};

/// How those who write into a working layer are halted, and go on.
struct Quiet {
    std::function<Result<>()> halt;   ///< until it has returned nobody need stand still; after its error all go on
    std::function<Result<>()> resume; ///< called once after each halt, whatever has become of the rest
};

/// What a capture took.
struct CaptureCost {
    std::chrono::microseconds pause{}; ///< from the beginning of the halt until all went on
    std::uint64_t copied_bytes = 0;    ///< of content
    bool shared = false;               ///< the file system lets copy and original have their blocks in common
};
struct Captured {
    store::Snapshot snapshot;
    std::optional<CaptureCost> cost; ///< none: it was made by an earlier request
};

/// The named writable layers over snapshots: working/NAME below the store's directory. Any thread.
///
/// Whatever kills the process, what was written stays: a step that moves directories is noted before it begins, and
/// `recover` finishes or undoes it, as the database says. See docs/design/storage.md
class WorkingLayers {
public:
    WorkingLayers(store::Store& store, SnapshotMounts& mounts) : store_{&store}, mounts_{&mounts} {}

    using Request = std::optional<store::RequestKey>; ///< takes effect once, however often it is repeated

    /// An empty layer: a branch. Costs the same whatever the snapshot's size.
    /// Errors: Conflict (the name is taken, by a vdisk as well, or a directory without a row has it), NotFound, Invalid
    Result<> create(const std::string& name, const store::SnapshotId& snapshot, const Request& request = {});
    /// Several at once, or none. @param along what is entered with them, in the same transaction; its errors leave none
    Result<> create(std::span<const std::string> names, const store::SnapshotId& snapshot,
                    const std::function<Result<>(store::Txn&)>& along);
    /// With all it holds, which `sweep` removes. Errors: NotFound, Conflict (mounted)
    Result<> remove(const std::string& name);
    /// Several at once, or none.
    /// @param commit removes their rows in one transaction, with whatever goes with them. Errors: its own
    Result<> remove(std::span<const std::string> names, const std::function<Result<>()>& commit);

    /// Makes a snapshot of what is in the layer, in state *frozen*; the layer goes on empty above it. Costs the same
    /// whatever was written. Nobody may have the layer mounted.
    /// Errors: NotFound, Conflict (mounted; the request key is another request's), Invalid (note)
    Result<store::Snapshot> freeze(const std::string& name, const FreezeNote& note);
    /// The same of a layer in which somebody goes on writing, who is halted only while the last differences are copied:
    /// a copy of it becomes the snapshot, and the layer stays as it is, above the same snapshot as before. Other layers
    /// wait for no copying, other steps with this one are refused meanwhile.
    /// @param watch asked again and again, with the bytes copied so far
    /// Errors: as freeze, those of `quiet` and `watch`, Unavailable (no space left); nothing is left of the copy then
    /// but what `sweep` removes
    Result<Captured> capture(const std::string& name, const FreezeNote& note, const Quiet& quiet,
                             const store::Watch& watch);
    /// Puts the layer, empty, over another snapshot (or the same). What was in it and not frozen is gone (`sweep`).
    /// Errors: NotFound, Conflict (mounted)
    Result<> rollback(const std::string& name, const store::SnapshotId& snapshot, const Request& request = {});

    /// Another name. Killed at any point, it has the one or the other after `recover`.
    /// Errors: NotFound, Conflict (mounted; the name is a branch's, a vdisk's or a directory's), Invalid (name)
    Result<> rename(const std::string& name, const std::string& to);
    /// Whether nothing was written since the snapshot below it; its root's own mode and owner do not
    /// count. Errors: NotFound
    [[nodiscard]] Result<bool> is_empty(const std::string& name) const;

    struct Recovered {
        std::vector<std::string> settled;                  ///< layers of which a step was finished or undone
        std::vector<std::string> unknown;                  ///< directories that no row knows; kept
        std::vector<std::pair<std::string, Error>> broken; ///< that cannot be used; they can be removed
    };
    /// After a start, before anything else is asked of the object.
    Result<Recovered> recover();

    /// That the layer was recovered, or can be by now. What mounts it asks first. Errors: what is wrong with it
    Result<> check_usable(const std::string& name);

    /// Removes what rollbacks and removals left, which may take long: in the background, after them and after a start.
    Result<> sweep();

private:
    enum class ReadOnly : unsigned char { Refused, Allowed };
    /// @param read_only whether it may be mounted so that nobody can write into it (SnapshotMounts::while_quiet)
    Result<> check_unmounted(const std::string& name, ReadOnly read_only) const;
    Result<os::Fd> open_settled(const std::string& name);
    Result<> check_free(const std::string& name);
    Result<bool> finish_removal(const std::string& name);
    Result<> finish_rename(const std::string& name);
    Result<> finish_renames();
    Result<> make(std::span<const std::string> names, const store::SnapshotId& snapshot,
                  const std::function<Result<>(store::Txn&)>& along);
    Result<> take_away(std::span<const std::string> names, const std::function<Result<>()>& commit);
    Result<> catch_up(int directory, store::Working& row);
    Result<bool> settle(const std::string& name);
    Result<os::Fd> begin_capture(const std::string& name);
    Result<store::Snapshot> keep_capture(const std::string& name, int directory, const FreezeNote& note);
    Result<> end_capture(const std::string& name, int directory);
    Result<> settle_capture(int directory, const std::optional<Step>& begun);
    Result<> mend(const std::string& name);

    store::Store* store_;
    SnapshotMounts* mounts_;
    std::mutex mutex_;               ///< one step at a time; guards the next two
    std::set<std::string> broken_;   ///< what `recover` could do nothing with
    std::set<std::string> captured_; ///< that are being copied
    std::mutex sweeping_;            ///< never taken with the other
};

} // namespace coppice::vdisk
