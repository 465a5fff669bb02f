#include "coppice/store/vdisk.h"

#include "coppice/base/id.h"
#include "snapshot_rows.h"

namespace coppice::store {

namespace {

/// All rows of `vdisk` with `where` behind them.
template <typename... Values>
Result<std::vector<Vdisk>> select_vdisks(Connection& db, std::string_view where, const Values&... values)
{
    Query query = TRY(db.query(cat("SELECT uuid, name, seq, epoch, created FROM vdisk ", where), values...));
    std::vector<Vdisk> found;
    while (TRY(query.next())) {
        const auto id = TRY(query.name<VdiskId>(0));
        found.push_back({.id = id,
                         .name = std::string{query.text(1)},
                         .seq = query.size(2),
                         .epoch = query.size(3),
                         .created = Time{query.integer(4)}});
    }
    return found;
}

/// All rows of `version` with `where` behind them.
template <typename... Values>
Result<std::vector<Version>> select_versions(Connection& db, std::string_view where, const Values&... values)
{
    Query query = TRY(
        db.query(cat("SELECT number, snapshot, state, scheduled, pinned, created FROM version ", where), values...));
    std::vector<Version> found;
    while (TRY(query.next())) {
        Version version;
        version.number = query.size(0);
        version.snapshot = TRY(query.name<SnapshotId>(1));
        version.state = static_cast<VersionState>(query.integer(2));
        if (!query.is_null(3)) version.scheduled = Time{query.integer(3)};
        version.pinned = query.integer(4) != 0;
        version.created = Time{query.integer(5)};
        found.push_back(version);
    }
    return found;
}

Result<> check_new_name(const View& view, const std::string& name)
{
    TRY(check_name(name));
    if (TRY(find_vdisk(view, name))) return fail(ErrorKind::Conflict, cat("there is a vdisk ", name, " already"));
    return {};
}

} // namespace

Result<Vdisk> add_vdisk(Txn& txn, const std::string& name)
{
    TRY(check_new_name(txn, name));
    const auto id = security::make_random<VdiskId>();
    TRY(txn.db().execute("INSERT INTO vdisk(uuid, name, seq, epoch, created) VALUES(?, ?, 0, 0, ?)", id,
                         std::string_view{name}, now()));
    return get_vdisk(txn, id);
}

Result<> rename_vdisk(Txn& txn, const VdiskId& id, const std::string& name)
{
    TRY(check_new_name(txn, name));
    TRY(txn.db().execute("UPDATE vdisk SET name = ? WHERE id = ?", std::string_view{name},
                         TRY(vdisk_row_id(txn.db(), id))));
    return {};
}

Result<> remove_vdisk(Txn& txn, const VdiskId& id)
{
    const auto row = TRY(vdisk_row_id(txn.db(), id));
    const auto count = TRY(txn.db().number("SELECT count(*) FROM snapshot WHERE vdisk = ?", row));
    if (count > 0)
        return fail(Error{ErrorKind::Conflict, cat("the vdisk has ", count, " snapshots")}.hint("remove these first"));
    TRY(txn.db().execute("DELETE FROM tag WHERE vdisk = ?", row)); // of snapshots of other vdisks
    TRY(txn.db().execute("DELETE FROM version WHERE vdisk = ?", row));
    TRY(txn.db().execute("DELETE FROM vdisk WHERE id = ?", row));
    return {};
}

Result<std::optional<Vdisk>> find_vdisk(const View& view, const std::string& name)
{
    auto found = TRY(select_vdisks(view.db(), "WHERE name = ?", std::string_view{name}));
    if (found.empty()) return std::optional<Vdisk>{};
    return std::optional<Vdisk>{std::move(found.front())};
}

Result<Vdisk> get_vdisk(const View& view, const std::string& name)
{
    auto found = TRY(find_vdisk(view, name));
    if (!found) return fail(ErrorKind::NotFound, cat("there is no vdisk ", name));
    return *std::move(found);
}

Result<Vdisk> get_vdisk(const View& view, const VdiskId& id)
{
    auto found = TRY(select_vdisks(view.db(), "WHERE uuid = ?", id));
    if (found.empty()) return fail(ErrorKind::NotFound, cat("there is no vdisk ", id.hex()));
    return std::move(found.front());
}

Result<std::vector<Vdisk>> all_vdisks(const View& view) { return select_vdisks(view.db(), "ORDER BY name"); }

// --- versions

std::string_view to_text(VersionState state)
{
    switch (state) {
    case VersionState::Maintenance: return "maintenance";
    case VersionState::Test: return "test";
    case VersionState::Production: return "production";
    }
    return "unknown";
}

Result<std::vector<Version>> versions(const View& view, const VdiskId& vdisk)
{
    return select_versions(view.db(), "WHERE vdisk = ? ORDER BY number", TRY(vdisk_row_id(view.db(), vdisk)));
}

Result<Version> get_version(const View& view, const VdiskId& vdisk, std::uint64_t number)
{
    auto found =
        TRY(select_versions(view.db(), "WHERE vdisk = ? AND number = ?", TRY(vdisk_row_id(view.db(), vdisk)), number));
    if (found.empty()) return fail(ErrorKind::NotFound, cat("there is no version ", number));
    return found.front();
}

Result<Version> add_version(Txn& txn, const VdiskId& vdisk, const SnapshotId& snapshot, VersionState state)
{
    TRY(get_snapshot(txn, snapshot));
    const auto row = TRY(vdisk_row_id(txn.db(), vdisk));
    // A number is given once: whoever means "debian:2" must not get another image because that one was removed.
    TRY(txn.db().execute("UPDATE vdisk SET versions = versions + 1 WHERE id = ?", row));
    const auto number = TRY(txn.db().number("SELECT versions FROM vdisk WHERE id = ?", row));
    TRY(txn.db().execute(
        "INSERT INTO version(vdisk, number, snapshot, state, pinned, created) VALUES(?, ?, ?, ?, 0, ?)", row, number,
        snapshot, state, now()));
    return get_version(txn, vdisk, static_cast<std::uint64_t>(number));
}

Result<Version> promote_version(Txn& txn, const VdiskId& vdisk, std::uint64_t number)
{
    const auto version = TRY(get_version(txn, vdisk, number));
    if (version.state == VersionState::Production)
        return fail(ErrorKind::Conflict, cat("version ", number, " is in production already"));
    TRY(txn.db().execute("UPDATE version SET state = state + 1 WHERE vdisk = ? AND number = ?",
                         TRY(vdisk_row_id(txn.db(), vdisk)), number));
    return get_version(txn, vdisk, number);
}

Result<> schedule_version(Txn& txn, const VdiskId& vdisk, std::uint64_t number, std::optional<Time> when)
{
    TRY(get_version(txn, vdisk, number));
    TRY(txn.db().execute("UPDATE version SET scheduled = ? WHERE vdisk = ? AND number = ?", when,
                         TRY(vdisk_row_id(txn.db(), vdisk)), number));
    return {};
}

Result<> pin_version(Txn& txn, const VdiskId& vdisk, std::uint64_t number)
{
    TRY(get_version(txn, vdisk, number));
    TRY(unpin_version(txn, vdisk));
    TRY(txn.db().execute("UPDATE version SET pinned = 1 WHERE vdisk = ? AND number = ?",
                         TRY(vdisk_row_id(txn.db(), vdisk)), number));
    return {};
}

Result<> unpin_version(Txn& txn, const VdiskId& vdisk)
{
    TRY(txn.db().execute("UPDATE version SET pinned = 0 WHERE vdisk = ? AND pinned = 1",
                         TRY(vdisk_row_id(txn.db(), vdisk))));
    return {};
}

Result<> remove_version(Txn& txn, const VdiskId& vdisk, std::uint64_t number)
{
    const auto version = TRY(get_version(txn, vdisk, number));
    if (version.pinned)
        return fail(Error{ErrorKind::Conflict, cat("version ", number, " is pinned")}.hint("unpin it first"));
    TRY(txn.db().execute("DELETE FROM version WHERE vdisk = ? AND number = ?", TRY(vdisk_row_id(txn.db(), vdisk)),
                         number));
    return {};
}

Result<std::optional<Version>> default_version(const View& view, const VdiskId& vdisk, Time at)
{
    auto found = TRY(select_versions(view.db(),
                                     "WHERE vdisk = ? AND (pinned = 1 OR (state = ? AND coalesce(scheduled, 0) <= ?)) "
                                     "ORDER BY pinned DESC, number DESC LIMIT 1",
                                     TRY(vdisk_row_id(view.db(), vdisk)), VersionState::Production, at));
    if (found.empty()) return std::optional<Version>{};
    return std::optional<Version>{found.front()};
}

} // namespace coppice::store
