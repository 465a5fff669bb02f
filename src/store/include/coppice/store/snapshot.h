#pragma once

#include "coppice/store/layer.h"
#include "coppice/store/store.h"

#include <optional>
#include <string>
#include <vector>

namespace coppice::store {

/// How far a snapshot has come; see docs/design/storage.md, section "Three states".
enum class SnapshotState : std::uint8_t { Frozen = 1, Durable = 2, Sealed = 3 };
std::string_view to_text(SnapshotState state);

/// A node of the tree.
struct Snapshot {
    SnapshotId id;
    VdiskId vdisk;
    std::optional<SnapshotId> parent;
    std::optional<LayerDigest> layer; ///< only once sealed; empty then: the same content as the parent
    SnapshotState state = SnapshotState::Frozen;
    std::uint64_t seq = 0, epoch = 0;
    std::uint64_t depth = 1; ///< how many it and its ancestors are
    Time created{};
    std::uint64_t bytes = 0; ///< logical size of what it changes
    std::string author, message;
    std::optional<ManifestDigest> manifest;
};

/// What a new snapshot is made from; seq and epoch are the vdisk's.
struct NewSnapshot {
    SnapshotId id; ///< security::make_random<SnapshotId>(), also the name of its frozen directory
    VdiskId vdisk;
    std::optional<SnapshotId> parent;
    SnapshotState state = SnapshotState::Frozen; ///< Frozen or Durable; it becomes Sealed by seal_snapshot
    std::uint64_t bytes = 0;
    std::string author;  ///< 1 to kAuthorMaxBytes bytes
    std::string message; ///< at most kMessageMaxBytes
    std::string config;  ///< OCI image configuration: an object in JSON of at most kConfigMaxBytes, or empty
};
inline constexpr std::size_t kAuthorMaxBytes = 512;
inline constexpr std::size_t kMessageMaxBytes = 64U << 10;
inline constexpr std::size_t kConfigMaxBytes = 256U << 10;

/// Errors: NotFound (vdisk, parent), Conflict (the id is taken), Invalid
Result<Snapshot> add_snapshot(Txn& txn, const NewSnapshot& wanted);
/// What was frozen is on the disk now. Nothing happens to one that is further. Errors: NotFound
Result<> mark_durable(Txn& txn, const SnapshotId& id);
/// The message may change until the snapshot is sealed. Errors: NotFound, Conflict (sealed), Invalid
Result<> set_message(Txn& txn, const SnapshotId& id, const std::string& message);
/// Errors: NotFound; Conflict, naming what needs it: children, tags, versions, working layers, leases
Result<> remove_snapshot(Txn& txn, const SnapshotId& id);
/// What would be in the way, one line each, such as "version 3 of debian"; empty: it can be removed.
Result<std::vector<std::string>> dependents(const View& view, const SnapshotId& id);

Result<std::optional<Snapshot>> find_snapshot(const View& view, const SnapshotId& id);
Result<Snapshot> get_snapshot(const View& view, const SnapshotId& id); ///< Errors: NotFound
/// Its OCI image configuration, or empty. Errors: NotFound
Result<std::string> config_of(const View& view, const SnapshotId& id);
/// By the first hexadecimal digits of its id (at least 4) or all. Errors: NotFound, Invalid, Conflict (several, which
/// it names)
Result<Snapshot> find_by_prefix(const View& view, std::string_view prefix);

// --- the tree

Result<std::vector<Snapshot>> children(const View& view, const SnapshotId& id);
/// The snapshot itself first, then its parent, up to the root. Errors: NotFound, Corrupt (a circle)
/// @param most 0: all
Result<std::vector<Snapshot>> ancestors(const View& view, const SnapshotId& id, std::size_t most = 0);
/// The first of them, up to the nearest sealed one, which is not among them: all above it are sealed, too.
Result<std::vector<Snapshot>> unsealed_ancestors(const View& view, const SnapshotId& id);
/// The nearest of them that is not sealed with the content of its parent: the first of `lineage`.
Result<Snapshot> nearest_content(const View& view, const SnapshotId& id);
/// Whether `id` comes from `base`, or is it.
Result<bool> is_ancestor(const View& view, const SnapshotId& base, const SnapshotId& id);
/// All below it, parents before children, without itself.
Result<std::vector<Snapshot>> descendants(const View& view, const SnapshotId& id);
/// Those of a vdisk, latest first. @param most 0: all
Result<std::vector<Snapshot>> log(const View& view, const VdiskId& vdisk, std::size_t most = 0);
/// Those that are not sealed yet, ancestors first: the work of the background.
Result<std::vector<Snapshot>> unsealed(const View& view);
/// The layers to stack for this snapshot, topmost first. Frozen ones between them are named by their snapshots.
Result<std::vector<Snapshot>> lineage(const View& view, const SnapshotId& id);

// --- who uses them: tags, working layers, leases

struct Tag {
    std::string name;
    SnapshotId snapshot;
};
/// Moves the tag if there is one of that name. Errors: NotFound, Invalid (name)
Result<> set_tag(Txn& txn, const VdiskId& vdisk, const std::string& name, const SnapshotId& snapshot);
Result<> remove_tag(Txn& txn, const VdiskId& vdisk, const std::string& name); ///< Errors: NotFound
Result<std::vector<Tag>> tags(const View& view, const VdiskId& vdisk);

struct Working {
    std::string name;
    SnapshotId snapshot; ///< the one below it
    Time created{};
};
/// A name means a working layer or a vdisk. Errors: Conflict (it is taken), NotFound, Invalid
Result<> add_working(Txn& txn, const std::string& name, const SnapshotId& snapshot);
/// After a freeze, a rollback or a branch: another snapshot is below it now. Errors: NotFound
Result<> move_working(Txn& txn, const std::string& name, const SnapshotId& snapshot);
/// With what was taken of it. Errors: as add_working, Invalid
Result<> rename_working(Txn& txn, const std::string& name, const std::string& to);
Result<> remove_working(Txn& txn, const std::string& name); ///< absence is fine
Result<std::optional<Working>> find_working(const View& view, const std::string& name);
Result<Working> get_working(const View& view, const std::string& name); ///< Errors: NotFound
Result<std::vector<Working>> all_working(const View& view);

/// Somebody reads the snapshot until `expires`: a mount, a remote reader. The same id again renews it.
Result<> take_lease(Txn& txn, const std::string& id, const SnapshotId& snapshot, Time expires);
Result<> end_lease(Txn& txn, const std::string& id); ///< absence is fine

struct Lease {
    std::string id;
    SnapshotId snapshot;
    Time expires{};
};
/// Those that have not expired.
Result<std::vector<Lease>> leases(const View& view);
Result<std::optional<Lease>> find_lease(const View& view, const std::string& id);

} // namespace coppice::store
