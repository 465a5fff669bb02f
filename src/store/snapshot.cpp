#include "coppice/store/snapshot.h"

#include "coppice/base/id.h"
#include "coppice/base/json.h"
#include "coppice/store/vdisk.h"
#include "snapshot_rows.h"

#include <nlohmann/json.hpp>

namespace coppice::store {

namespace {

constexpr std::size_t kDependentsShown = 20;

Result<> check_exists(const View& view, const SnapshotId& id)
{
    if (TRY(view.db().number("SELECT count(*) FROM snapshot WHERE id = ?", id)) == 0) return fail(no_such(id));
    return {};
}

Result<> check_texts(const NewSnapshot& wanted)
{
    if (wanted.author.empty() || wanted.author.size() > kAuthorMaxBytes)
        return fail(ErrorKind::Invalid, cat("an author has 1 to ", kAuthorMaxBytes, " bytes"));
    if (wanted.message.size() > kMessageMaxBytes)
        return fail(ErrorKind::Invalid, cat("a message has at most ", kMessageMaxBytes, " bytes"));
    return {};
}

/// In the form in which it comes back out of a manifest.
Result<std::string> normal_config(const std::string& config)
{
    if (config.empty()) return std::string{};
    const auto value = TRY_DOING("configuration", parse_json(config));
    if (!value.is_object()) return fail(ErrorKind::Invalid, "configuration: must be an object");
    auto text = value.dump();
    if (text.size() > kConfigMaxBytes)
        return fail(ErrorKind::Invalid, cat("configuration: larger than ", kConfigMaxBytes, " bytes"));
    return text;
}

} // namespace

std::string_view to_text(SnapshotState state)
{
    switch (state) {
    case SnapshotState::Frozen: return "frozen";
    case SnapshotState::Durable: return "durable";
    case SnapshotState::Sealed: return "sealed";
    }
    return "unknown";
}

Result<Snapshot> read_snapshot_row(const Query& query)
{
    Snapshot snapshot;
    snapshot.id = TRY(query.name<SnapshotId>(0));
    snapshot.vdisk = TRY(query.name<VdiskId>(1));
    snapshot.parent = TRY(query.optional_name<SnapshotId>(2));
    snapshot.layer = TRY(query.optional_name<LayerDigest>(3));
    snapshot.state = static_cast<SnapshotState>(query.integer(4));
    snapshot.seq = query.size(5);
    snapshot.epoch = query.size(6);
    snapshot.depth = query.size(7);
    snapshot.created = Time{query.integer(8)};
    snapshot.bytes = query.size(9);
    snapshot.author = query.text(10);
    snapshot.message = query.text(11);
    snapshot.manifest = TRY(query.optional_name<ManifestDigest>(12));
    return snapshot;
}

Result<std::int64_t> vdisk_row_id(Connection& db, const VdiskId& id)
{
    auto query = TRY(db.query("SELECT id FROM vdisk WHERE uuid = ?", id));
    if (!TRY(query.next())) return fail(ErrorKind::NotFound, cat("there is no vdisk ", id.hex()));
    return query.integer(0);
}

Result<Snapshot> add_snapshot(Txn& txn, const NewSnapshot& wanted)
{
    TRY(check_texts(wanted));
    if (wanted.state == SnapshotState::Sealed)
        return fail(ErrorKind::Invalid, "a new snapshot is frozen or durable, it is sealed afterwards");
    const auto config = TRY(normal_config(wanted.config));
    Connection& db = txn.db();
    const auto vdisk = TRY(vdisk_row_id(db, wanted.vdisk));
    if (wanted.parent) TRY(check_exists(txn, *wanted.parent));
    if (TRY(db.number("SELECT count(*) FROM snapshot WHERE id = ?", wanted.id)) != 0)
        return fail(ErrorKind::Conflict, cat("there is a snapshot ", wanted.id.hex(), " already"));
    TRY(db.execute("UPDATE vdisk SET seq = seq + 1 WHERE id = ?", vdisk));
    TRY(db.execute(
        "INSERT INTO snapshot(id, vdisk, parent, state, seq, epoch, depth, created, bytes, author, message) "
        "SELECT ?1, id, ?2, ?3, seq, epoch, 1 + coalesce((SELECT depth FROM snapshot WHERE id = ?2), 0), ?4, ?5, "
        "?6, ?7 FROM vdisk WHERE id = ?8",
        wanted.id, wanted.parent, wanted.state, now(), wanted.bytes, std::string_view{wanted.author},
        std::string_view{wanted.message}, vdisk));
    TRY(db.execute("INSERT INTO document(snapshot, config) VALUES(?, ?)", wanted.id, std::string_view{config}));
    return get_snapshot(txn, wanted.id);
}

Result<> mark_durable(Txn& txn, const SnapshotId& id)
{
    TRY(check_exists(txn, id));
    TRY(txn.db().execute("UPDATE snapshot SET state = ? WHERE id = ? AND state = ?", SnapshotState::Durable, id,
                         SnapshotState::Frozen));
    return {};
}

Result<> set_message(Txn& txn, const SnapshotId& id, const std::string& message)
{
    if (message.size() > kMessageMaxBytes)
        return fail(ErrorKind::Invalid, cat("a message has at most ", kMessageMaxBytes, " bytes"));
    const auto snapshot = TRY(get_snapshot(txn, id));
    if (snapshot.state == SnapshotState::Sealed)
        return fail(ErrorKind::Conflict, cat("snapshot ", id.hex(), " is sealed: its message is signed"));
    TRY(txn.db().execute("UPDATE snapshot SET message = ? WHERE id = ?", std::string_view{message}, id));
    return {};
}

Result<std::vector<std::string>> dependents(const View& view, const SnapshotId& id)
{
    std::vector<std::string> found;
    Connection& db = view.db();
    const auto collect = [&](std::string_view sql, std::string_view what) -> Result<> {
        auto query = TRY(db.query(sql, id));
        while (TRY(query.next()))
            found.push_back(cat(what, query.text(0)));
        return {};
    };
    TRY(collect("SELECT lower(hex(id)) FROM snapshot WHERE parent = ? ORDER BY created", "child "));
    TRY(collect("SELECT name FROM working WHERE snapshot = ? ORDER BY name", "branch "));
    TRY(collect(
        "SELECT w.number || ' of ' || v.name FROM version w JOIN vdisk v ON v.id = w.vdisk WHERE w.snapshot = ? "
        "ORDER BY v.name, w.number",
        "version "));
    TRY(collect("SELECT t.name || ' of ' || v.name FROM tag t JOIN vdisk v ON v.id = t.vdisk WHERE t.snapshot = ? "
                "ORDER BY v.name, t.name",
                "tag "));
    auto leases = TRY(db.query("SELECT id FROM lease WHERE snapshot = ? AND expires > ? ORDER BY id", id, now()));
    while (TRY(leases.next()))
        found.push_back(cat("reader ", leases.text(0)));
    return found;
}

Result<> remove_snapshot(Txn& txn, const SnapshotId& id)
{
    TRY(check_exists(txn, id));
    const auto needed_by = TRY(dependents(txn, id));
    if (!needed_by.empty()) {
        std::string names;
        for (std::size_t i = 0; i < needed_by.size() && i < kDependentsShown; ++i)
            names += cat(i == 0 ? "" : ", ", needed_by[i]);
        if (needed_by.size() > kDependentsShown) names += cat(" and ", needed_by.size() - kDependentsShown, " more");
        return fail(Error{ErrorKind::Conflict, cat("snapshot ", id.hex(), " is needed by ", names)}.hint(
            "remove these first; readers are mounts: see coppice vdisk mounts"));
    }
    TRY(txn.db().execute("DELETE FROM lease WHERE snapshot = ? AND expires <= ?", id, now()));
    TRY(txn.db().execute("DELETE FROM snapshot WHERE id = ?", id));
    return {};
}

Result<std::optional<Snapshot>> find_snapshot(const View& view, const SnapshotId& id)
{
    auto found = TRY(select_snapshots(view.db(), "WHERE s.id = ?", id));
    if (found.empty()) return std::optional<Snapshot>{};
    return std::optional<Snapshot>{std::move(found.front())};
}

Result<Snapshot> get_snapshot(const View& view, const SnapshotId& id)
{
    auto found = TRY(find_snapshot(view, id));
    if (!found) return fail(no_such(id));
    return *std::move(found);
}

Result<std::string> config_of(const View& view, const SnapshotId& id)
{
    auto query = TRY(view.db().query("SELECT config FROM document WHERE snapshot = ?", id));
    if (!TRY(query.next())) return fail(no_such(id));
    return std::string{query.text(0)};
}

// --- tags, working layers, leases

Result<> set_tag(Txn& txn, const VdiskId& vdisk, const std::string& name, const SnapshotId& snapshot)
{
    TRY(check_name(name));
    TRY(check_exists(txn, snapshot));
    TRY(txn.db().execute("INSERT INTO tag(vdisk, name, snapshot) VALUES(?, ?, ?) "
                         "ON CONFLICT(vdisk, name) DO UPDATE SET snapshot = excluded.snapshot",
                         TRY(vdisk_row_id(txn.db(), vdisk)), std::string_view{name}, snapshot));
    return {};
}

Result<> remove_tag(Txn& txn, const VdiskId& vdisk, const std::string& name)
{
    const auto row = TRY(vdisk_row_id(txn.db(), vdisk));
    if (TRY(txn.db().execute("DELETE FROM tag WHERE vdisk = ? AND name = ?", row, std::string_view{name})) == 0)
        return fail(ErrorKind::NotFound, cat("there is no tag ", name));
    return {};
}

Result<std::vector<Tag>> tags(const View& view, const VdiskId& vdisk)
{
    const auto row = TRY(vdisk_row_id(view.db(), vdisk));
    std::vector<Tag> found;
    auto query = TRY(view.db().query("SELECT name, snapshot FROM tag WHERE vdisk = ? ORDER BY name", row));
    while (TRY(query.next())) {
        const auto snapshot = TRY(query.name<SnapshotId>(1));
        found.push_back({.name = std::string{query.text(0)}, .snapshot = snapshot});
    }
    return found;
}

namespace {

Result<> check_free(const View& view, const std::string& name)
{
    TRY(check_name(name));
    if (TRY(find_working(view, name)))
        return fail(
            Error{ErrorKind::Conflict, cat("there is a branch ", name, " already")}.hint("choose another name"));
    if (TRY(find_vdisk(view, name)))
        return fail(Error{ErrorKind::Conflict, cat("a vdisk is named ", name)}.hint(
            "choose another name: a name means either a vdisk or a branch"));
    return {};
}

} // namespace

Result<> add_working(Txn& txn, const std::string& name, const SnapshotId& snapshot)
{
    TRY(check_free(txn, name));
    TRY(check_exists(txn, snapshot));
    TRY(txn.db().execute("INSERT INTO working(name, snapshot, created) VALUES(?, ?, ?)", std::string_view{name},
                         snapshot, now()));
    return {};
}

Result<> move_working(Txn& txn, const std::string& name, const SnapshotId& snapshot)
{
    TRY(check_exists(txn, snapshot));
    if (TRY(txn.db().execute("UPDATE working SET snapshot = ? WHERE name = ?", snapshot, std::string_view{name})) == 0)
        return fail(ErrorKind::NotFound, cat("there is no branch ", name));
    return {};
}

Result<> rename_working(Txn& txn, const std::string& name, const std::string& to)
{
    TRY(check_free(txn, to));
    const auto renamed = TRY(
        txn.db().execute("UPDATE working SET name = ? WHERE name = ?", std::string_view{to}, std::string_view{name}));
    if (renamed == 0) return fail(ErrorKind::NotFound, cat("there is no branch ", name));
    TRY(txn.db().execute("UPDATE origin SET working = ? WHERE working = ?", std::string_view{to},
                         std::string_view{name}));
    return {};
}

Result<> remove_working(Txn& txn, const std::string& name)
{
    TRY(txn.db().execute("DELETE FROM working WHERE name = ?", std::string_view{name}));
    TRY(txn.db().execute("DELETE FROM origin WHERE working = ?", std::string_view{name}));
    return {};
}

namespace {

Result<std::vector<Working>> read_working(Query query)
{
    std::vector<Working> found;
    while (TRY(query.next())) {
        const auto snapshot = TRY(query.name<SnapshotId>(1));
        found.push_back({.name = std::string{query.text(0)}, .snapshot = snapshot, .created = Time{query.integer(2)}});
    }
    return found;
}

} // namespace

Result<std::optional<Working>> find_working(const View& view, const std::string& name)
{
    auto found = TRY(read_working(
        TRY(view.db().query("SELECT name, snapshot, created FROM working WHERE name = ?", std::string_view{name}))));
    if (found.empty()) return std::optional<Working>{};
    return std::optional<Working>{std::move(found.front())};
}

Result<Working> get_working(const View& view, const std::string& name)
{
    auto found = TRY(find_working(view, name));
    if (!found) return fail(ErrorKind::NotFound, cat("there is no branch ", name));
    return *std::move(found);
}

Result<std::vector<Working>> all_working(const View& view)
{
    return read_working(TRY(view.db().query("SELECT name, snapshot, created FROM working ORDER BY name")));
}

Result<> take_lease(Txn& txn, const std::string& id, const SnapshotId& snapshot, Time expires)
{
    TRY(check_exists(txn, snapshot));
    if (id.empty() || id.size() > kNameMaxBytes)
        return fail(ErrorKind::Invalid, "the name of a lease has 1 to 128 bytes");
    TRY(txn.db().execute("INSERT INTO lease(id, snapshot, expires) VALUES(?, ?, ?) "
                         "ON CONFLICT(id) DO UPDATE SET snapshot = excluded.snapshot, expires = excluded.expires",
                         std::string_view{id}, snapshot, expires));
    return {};
}

Result<> end_lease(Txn& txn, const std::string& id)
{
    TRY(txn.db().execute("DELETE FROM lease WHERE id = ?", std::string_view{id}));
    return {};
}

namespace {

Result<std::vector<Lease>> read_leases(Query query)
{
    std::vector<Lease> found;
    while (TRY(query.next())) {
        const auto snapshot = TRY(query.name<SnapshotId>(1));
        found.push_back({.id = std::string{query.text(0)}, .snapshot = snapshot, .expires = Time{query.integer(2)}});
    }
    return found;
}

} // namespace

Result<std::vector<Lease>> leases(const View& view)
{
    return read_leases(
        TRY(view.db().query("SELECT id, snapshot, expires FROM lease WHERE expires > ? ORDER BY id", now())));
}

Result<std::optional<Lease>> find_lease(const View& view, const std::string& id)
{
    auto found = TRY(read_leases(TRY(view.db().query(
        "SELECT id, snapshot, expires FROM lease WHERE id = ? AND expires > ?", std::string_view{id}, now()))));
    if (found.empty()) return std::optional<Lease>{};
    return std::optional{std::move(found.front())};
}

} // namespace coppice::store
