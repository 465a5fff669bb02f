#pragma once

#include "coppice/store/snapshot.h"

#include <optional>
#include <string>
#include <vector>

namespace coppice::store {

/// A named image with versions.
struct Vdisk {
    VdiskId id;
    std::string name;
    std::uint64_t seq = 0;   ///< of its latest snapshot
    std::uint64_t epoch = 0; ///< fencing epoch of its writer
    Time created{};
};

/// Errors: Conflict (the name is taken), Invalid (see check_name)
Result<Vdisk> add_vdisk(Txn& txn, const std::string& name);
Result<> rename_vdisk(Txn& txn, const VdiskId& id, const std::string& name); ///< Errors: as above, NotFound
/// Errors: NotFound, Conflict (it has snapshots)
Result<> remove_vdisk(Txn& txn, const VdiskId& id);
Result<std::optional<Vdisk>> find_vdisk(const View& view, const std::string& name);
Result<Vdisk> get_vdisk(const View& view, const std::string& name); ///< Errors: NotFound
Result<Vdisk> get_vdisk(const View& view, const VdiskId& id);       ///< Errors: NotFound
Result<std::vector<Vdisk>> all_vdisks(const View& view);            ///< by name

// --- versions

enum class VersionState : std::uint8_t { Maintenance = 1, Test = 2, Production = 3 };
std::string_view to_text(VersionState state);

struct Version {
    std::uint64_t number = 0;
    SnapshotId snapshot;
    VersionState state = VersionState::Maintenance;
    std::optional<Time> scheduled; ///< production from then on; empty: at once
    bool pinned = false;
    Time created{};
};

/// The next number; one that was removed is not given again. Errors: NotFound
Result<Version> add_version(Txn& txn, const VdiskId& vdisk, const SnapshotId& snapshot, VersionState state);
/// Maintenance becomes test, test becomes production. Errors: NotFound, Conflict (production already)
Result<Version> promote_version(Txn& txn, const VdiskId& vdisk, std::uint64_t number);
/// From when on a version in production may be the default one; empty: at once. Also before it is in production, so
/// that it is never the default too early. Errors: NotFound
Result<> schedule_version(Txn& txn, const VdiskId& vdisk, std::uint64_t number, std::optional<Time> when);
/// The default whatever else there is, until unpinned or until another one is pinned. Errors: NotFound
Result<> pin_version(Txn& txn, const VdiskId& vdisk, std::uint64_t number);
Result<> unpin_version(Txn& txn, const VdiskId& vdisk);
/// Its snapshot stays. Errors: NotFound, Conflict (it is pinned)
Result<> remove_version(Txn& txn, const VdiskId& vdisk, std::uint64_t number);
Result<std::vector<Version>> versions(const View& view, const VdiskId& vdisk);             ///< by number
Result<Version> get_version(const View& view, const VdiskId& vdisk, std::uint64_t number); ///< Errors: NotFound
/// What "the vdisk" means at a time: the pinned version; otherwise the highest one in production whose time has come;
/// empty: none.
Result<std::optional<Version>> default_version(const View& view, const VdiskId& vdisk, Time at);

} // namespace coppice::store
