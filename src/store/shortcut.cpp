#include "coppice/store/shortcut.h"

#include "coppice/base/text.h"
#include "coppice/store/seal.h"
#include "snapshot_rows.h"
#include "stage.h"

#include <nlohmann/json.hpp>

namespace coppice::store {

namespace {

/// What is signed; it follows from the rows, so that it is compared and never parsed.
Result<std::string> payload_of(const View& view, const Shortcut& shortcut)
{
    const auto top = TRY(get_snapshot(view, shortcut.snapshot)), base = TRY(get_snapshot(view, shortcut.base));
    for (const Snapshot* const one : {&top, &base})
        if (!one->manifest) return fail(ErrorKind::Conflict, cat("snapshot ", one->id.hex(), " is not sealed yet"));
    return nlohmann::json{{"type", kShortcutType},
                          {"version", 1},
                          {"snapshot", top.manifest->hex()},
                          {"base", base.manifest->hex()},
                          {"layer", shortcut.layer.hex()}}
        .dump();
}

Result<std::optional<Shortcut>> find_shortcut(const View& view, const SnapshotId& snapshot)
{
    auto query = TRY(view.db().query(
        "SELECT t.base, l.digest FROM shortcut t JOIN layer l ON l.id = t.layer WHERE t.snapshot = ?", snapshot));
    if (!TRY(query.next())) return std::optional<Shortcut>{};
    const auto base = TRY(query.name<SnapshotId>(0));
    const auto layer = TRY(query.name<LayerDigest>(1));
    return std::optional{Shortcut{.snapshot = snapshot, .base = base, .layer = layer}};
}

} // namespace

Result<> add_shortcut(Txn& txn, const SnapshotId& snapshot, const SnapshotId& base, const StagedLayer& layer,
                      const security::SigningKey& key)
{
    const Shortcut wanted{.snapshot = snapshot, .base = base, .layer = layer.layer().digest};
    const auto payload = TRY(payload_of(txn, wanted));
    if (!TRY(is_ancestor(txn, base, snapshot)))
        return fail(ErrorKind::Invalid, cat(base.hex(), " is not an ancestor of ", snapshot.hex()));
    TRY(add_layer(txn, layer));
    const auto envelope = TRY(security::seal_document(kShortcutType, payload, key));
    TRY(txn.db().execute("INSERT INTO shortcut(snapshot, base, layer, envelope) VALUES(?, ?, ?, ?) "
                         "ON CONFLICT(snapshot) DO UPDATE SET base = excluded.base, layer = excluded.layer, "
                         "envelope = excluded.envelope",
                         snapshot, base, TRY(layer_row_id(txn, wanted.layer)), Blob{envelope}));
    return {};
}

Result<> remove_shortcut(Txn& txn, const SnapshotId& snapshot)
{
    TRY(txn.db().execute("DELETE FROM shortcut WHERE snapshot = ?", snapshot));
    return {};
}

Result<std::vector<Shortcut>> shortcuts(const View& view)
{
    std::vector<Shortcut> found;
    auto query = TRY(view.db().query(
        "SELECT t.snapshot, t.base, l.digest FROM shortcut t JOIN layer l ON l.id = t.layer ORDER BY t.snapshot"));
    while (TRY(query.next())) {
        const auto snapshot = TRY(query.name<SnapshotId>(0)), base = TRY(query.name<SnapshotId>(1));
        const auto layer = TRY(query.name<LayerDigest>(2));
        found.push_back({.snapshot = snapshot, .base = base, .layer = layer});
    }
    return found;
}

Result<> verify_shortcut(const View& view, const Shortcut& shortcut, std::span<const security::PublicKey> trusted)
{
    const std::string doing = cat("shortcut of snapshot ", shortcut.snapshot.hex());
    std::string envelope;
    {
        auto query = TRY(view.db().query("SELECT envelope FROM shortcut WHERE snapshot = ?", shortcut.snapshot));
        if (!TRY(query.next())) return fail(ErrorKind::NotFound, cat("there is no ", doing));
        envelope = query.blob(0);
    }
    const auto opened = TRY_DOING(doing, security::open_document(envelope, kShortcutType, trusted));
    if (opened.payload != TRY_DOING(doing, payload_of(view, shortcut)))
        return fail(ErrorKind::Corrupt, cat(doing, ": what is signed is something else than the database says"));
    if (!TRY(is_ancestor(view, shortcut.base, shortcut.snapshot)))
        return fail(ErrorKind::Corrupt, cat(doing, ": its base is not an ancestor"));
    return {};
}

Result<std::vector<StackPart>> stack_parts(const View& view, const SnapshotId& id, Shortcuts use)
{
    std::vector<StackPart> parts;
    std::optional<SnapshotId> skip_to;
    for (const Snapshot& one : TRY(ancestors(view, id))) {
        if (skip_to && one.id != *skip_to) continue;
        skip_to.reset();
        if (one.state == SnapshotState::Sealed && !one.layer) continue;
        StackPart part{.snapshot = one.id, .layer = {}, .base = {}};
        if (one.layer) part.layer = TRY(get_layer(view, *one.layer));
        if (const auto shortcut = use == Shortcuts::Use ? TRY(find_shortcut(view, one.id)) : std::nullopt) {
            part.layer = TRY(get_layer(view, shortcut->layer));
            part.base = skip_to = shortcut->base;
        }
        parts.push_back(std::move(part));
    }
    if (skip_to)
        return fail(
            Error{ErrorKind::Corrupt, cat("a shortcut on the way from snapshot ", id.hex(), " leads nowhere")}.hint(
                "run coppice system fsck"));
    return parts;
}

Result<std::vector<SnapshotId>> in_use(const View& view)
{
    std::vector<SnapshotId> found;
    auto query = TRY(
        view.db().query("SELECT id FROM snapshot s WHERE NOT EXISTS(SELECT 1 FROM snapshot c WHERE c.parent = s.id) "
                        "UNION SELECT snapshot FROM working UNION SELECT snapshot FROM tag "
                        "UNION SELECT snapshot FROM version UNION SELECT snapshot FROM lease"));
    while (TRY(query.next()))
        found.push_back(TRY(query.name<SnapshotId>(0)));
    return found;
}

} // namespace coppice::store
