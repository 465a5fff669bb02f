#pragma once

#include "coppice/store/snapshot.h"

#include <optional>
#include <span>
#include <vector>

namespace coppice::store {

/// One layer that shows the same as all layers of a snapshot's line above `base`, `snapshot`'s own included. Snapshots
/// never change, so it stays true; it can be made again, so nothing is lost with it. The node signs it: who changes the
/// database cannot put another layer there unseen. See docs/design/storage.md, section "Shortcuts"
struct Shortcut {
    SnapshotId snapshot, base;
    LayerDigest layer;
};

inline constexpr std::string_view kShortcutType = "application/vnd.coppice.shortcut.v1+json";

/// Enters the layer and signs; a snapshot has one shortcut, a former one goes. That the layer does show the same is the
/// caller's word. Errors: NotFound; Conflict (one of the two is not sealed); Invalid (`base` is not an ancestor)
Result<> add_shortcut(Txn& txn, const SnapshotId& snapshot, const SnapshotId& base, const StagedLayer& layer,
                      const security::SigningKey& key);
Result<> remove_shortcut(Txn& txn, const SnapshotId& snapshot); ///< absence is fine
Result<std::vector<Shortcut>> shortcuts(const View& view);      ///< all
/// Its signature, and that its base is an ancestor. Errors: Denied, Corrupt
Result<> verify_shortcut(const View& view, const Shortcut& shortcut, std::span<const security::PublicKey> trusted);

/// A layer of the stack that a snapshot is mounted from.
struct StackPart {
    SnapshotId snapshot;            ///< the topmost one that it shows
    std::optional<Layer> layer;     ///< empty: the snapshot's frozen directory
    std::optional<SnapshotId> base; ///< of a shortcut
};
enum class Shortcuts : unsigned char { Use, Ignore };
/// Topmost first. Errors: NotFound, Corrupt
Result<std::vector<StackPart>> stack_parts(const View& view, const SnapshotId& id, Shortcuts use = Shortcuts::Use);

/// Sealed and unsealed ones that something stands on or that nothing comes from: what is likely to be mounted.
Result<std::vector<SnapshotId>> in_use(const View& view);

} // namespace coppice::store
