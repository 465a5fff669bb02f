#pragma once

#include "coppice/store/ingest.h"
#include "coppice/store/shortcut.h"
#include "coppice/store/watch.h"
#include "coppice/vdisk/layer_writer.h"
#include "coppice/vdisk/sealer.h"
#include "coppice/vdisk/tree_stack.h"

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>

namespace coppice::vdisk {

/// What is in snapshots, without mounting them: their layers' metadata as trees; content comes from the packs, every
/// byte checked. Any thread.
class SnapshotTrees {
public:
    SnapshotTrees(store::Store& store, Sealer& sealer) : store_{&store}, sealer_{&sealer} {}

    /// The layers and frozen directories of a snapshot's line. A layer that somebody still holds is not read again.
    /// Errors: NotFound, Corrupt
    Result<TreeStack> stack_of(const store::SnapshotId& id);

    /// What leads from one snapshot to another; see vdisk::diff.
    Result<> diff(const store::SnapshotId& from, const store::SnapshotId& to,
                  const std::function<Result<>(const Change&)>& take);

    /// What has been written in a working layer since the snapshot below it.
    /// Errors: NotFound, Conflict (it changed meanwhile)
    Result<> diff_working(const store::Working& working, const std::function<Result<>(const Change&)>& take);
    /// What is in a working layer over the layers below it. Errors: as stack_of
    Result<TreeStack> stack_of_working(const store::Working& working);

    /// The content of one file. Links are not followed. Errors: NotFound (the path), Invalid (no regular file)
    static Result<> copy_file(const TreeStack& stack, const std::string& path, ByteSink& out);

    struct MergeNote {
        std::string author, message;
        std::optional<store::RequestKey> request = {}; ///< repeated, it gives the same snapshot
        /// What is entered with it, in the same transaction.
        std::function<Result<>(store::Txn&, const store::Snapshot&)> also = {};
        store::Watch watch = store::unwatched; ///< of the bytes written, 0 while `id` is sealed; ended by it, nothing
                                               ///< is entered
    };
    /// A new, sealed snapshot with the content of `id`, in which everything above `base` is one layer; its parent is
    /// `base`, or nothing: flattened. `id` and what is between stay as they are. Seals `id` first.
    /// Errors: Invalid (`base` is not an ancestor of `id`); as Sealer::seal
    Result<store::Snapshot> merge(const store::SnapshotId& id, const std::optional<store::SnapshotId>& base,
                                  const MergeNote& note);

    /// Merges what is above `base` into one layer and enters it as a shortcut; both must be sealed. @returns false:
    /// there is nothing to merge, or the snapshot was removed meanwhile. Errors: Invalid (`base` is not an ancestor),
    /// Corrupt, those of `watch`, after which nothing is entered
    Result<bool> add_shortcut(const store::SnapshotId& id, const store::SnapshotId& base,
                              const store::Watch& watch = store::unwatched);
    /// The trees of these layers and frozen directories.
    Result<TreeStack> trees_of(std::span<const store::StackPart> parts);

private:
    struct Cut {
        TreeStack above, below; ///< no `below` when there is no `above`
    };
    Result<std::shared_ptr<const Tree>> tree_of(const store::Layer& layer);
    Result<Cut> cut_at(const store::SnapshotId& id, const std::optional<store::SnapshotId>& base, store::Shortcuts use);
    Result<store::StagedLayer> write_merged(const Cut& cut, const store::IngestOptions& options,
                                            const store::Watch& watch, LayerSize& size);

    store::Store* store_;
    Sealer* sealer_;
    std::mutex mutex_; ///< held while a layer is read
    std::map<store::LayerDigest, std::weak_ptr<const Tree>> read_;
};

} // namespace coppice::vdisk
