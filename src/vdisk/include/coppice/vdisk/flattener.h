#pragma once

#include "coppice/vdisk/snapshot_trees.h"

#include <cstddef>
#include <functional>

namespace coppice::vdisk {

/// When a stack of layers is too deep.
struct FlattenPolicy {
    std::size_t in_directory = 8; ///< the most layers that one directory may be in: cold look-ups in it cost as many
    std::size_t layers = 64;      ///< the most layers of a stack, whatever is in them
};

/// Keeps the stacks that snapshots are mounted from short, in the background, by shortcuts: see docs/design/storage.md,
/// section "Shortcuts". Any thread; one at a time works.
class Flattener {
public:
    Flattener(store::Store& store, SnapshotTrees& trees, const FlattenPolicy& policy = {})
        : store_{&store}, trees_{&trees}, policy_{policy}
    {
    }
    using GoOn = std::function<bool()>;

    /// Makes the shortcuts that the sealed part of this snapshot's line needs, if any. Mounts that there are stay as
    /// they are. Killed at any point, the next call makes what is missing.
    /// @param go_on asked again and again; false: stop as soon as is safe
    /// @returns how many were made. Errors: NotFound, Corrupt, Unavailable
    Result<std::size_t> flatten(const store::SnapshotId& id, const GoOn& go_on = [] { return true; });
    struct Flattened {
        std::size_t made = 0;
        std::vector<std::pair<store::SnapshotId, Error>> failed; ///< the others were gone on with
    };
    /// The same for every snapshot that something stands on or that nothing comes from.
    Result<Flattened> flatten_all(const GoOn& go_on = [] { return true; });

private:
    Result<bool> is_too_deep(std::span<const store::StackPart> parts);

    store::Store* store_;
    SnapshotTrees* trees_;
    FlattenPolicy policy_;
    std::mutex mutex_;
};

} // namespace coppice::vdisk
