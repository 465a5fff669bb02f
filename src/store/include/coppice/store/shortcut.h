#pragma once

#include "coppice/store/snapshot.h"

#include <optional>
#include <vector>

namespace coppice::store {

class CheckedManifests;

/// One layer that shows the same as all layers of a snapshot's line above `base`, `snapshot`'s own included. Snapshots
/// never change, so it stays true; it can be made again, so nothing is lost with it. The node signs it: who changes the
/// database cannot put another layer there unseen. See docs/design/storage.md, section "Shortcuts"
struct Shortcut {
    SnapshotId snapshot, base;
    LayerDigest layer;
    bool operator==(const Shortcut&) const = default;
};

inline constexpr std::string_view kShortcutType = "application/vnd.coppice.shortcut.v1+json";

/// Enters the layer and signs; a snapshot has one shortcut, a former one goes. That the layer does show the same is the
/// caller's word. Errors: NotFound; Conflict (one of the two is not sealed); Invalid (`base` is not an ancestor);
/// Denied, Corrupt (of one of the two the manifest is not what the database says)
Result<> add_shortcut(Txn& txn, const SnapshotId& snapshot, const SnapshotId& base, const StagedLayer& layer,
                      const security::SigningKey& key);
Result<> remove_shortcut(Txn& txn, const SnapshotId& snapshot); ///< absence is fine
Result<std::vector<Shortcut>> shortcuts(const View& view);      ///< all
/// That its base is an ancestor. Errors: Corrupt
Result<> check_base(const View& view, const Shortcut& shortcut);
/// The same, and its signature. Errors: Denied, Corrupt
Result<> verify_shortcut(const View& view, const CheckedManifests& manifests, const Shortcut& shortcut);

/// A layer of the stack that a snapshot is mounted from.
struct StackPart {
    SnapshotId snapshot;            ///< the topmost one that it shows
    std::optional<Layer> layer;     ///< empty: the snapshot's frozen directory
    std::optional<SnapshotId> base; ///< of a shortcut
};
enum class Shortcuts : unsigned char { Use, Ignore };
/// Topmost first, proved: the manifest of the topmost sealed one by its signature, each one below by what is above it,
/// and that the database names the layers that they name. A shortcut that is wrong is logged and not used. Errors:
/// NotFound; Denied (a signature), Corrupt
Result<std::vector<StackPart>> stack_parts(const View& view, const CheckedManifests& manifests, const SnapshotId& id,
                                           Shortcuts use = Shortcuts::Use);

/// Sealed and unsealed ones that something stands on or that nothing comes from: what is likely to be mounted.
Result<std::vector<SnapshotId>> in_use(const View& view);

} // namespace coppice::store
