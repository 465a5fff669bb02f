#include "coppice/store/shortcut.h"

#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/store/checked_manifests.h"
#include "coppice/store/seal.h"
#include "snapshot_rows.h"
#include "stage.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>

namespace coppice::store {

namespace {

/// What is signed; it follows from the rows, so that it is compared and never parsed.
Result<std::string> payload_of(const Snapshot& top, const Snapshot& base, const LayerDigest& layer)
{
    for (const Snapshot* const one : {&top, &base})
        if (!one->manifest) return fail(ErrorKind::Conflict, cat("snapshot ", one->id.hex(), " is not sealed yet"));
    return nlohmann::json{{"type", kShortcutType},
                          {"version", 1},
                          {"snapshot", top.manifest->hex()},
                          {"base", base.manifest->hex()},
                          {"layer", layer.hex()}}
        .dump();
}

Result<std::string> envelope_of(const View& view, const SnapshotId& snapshot)
{
    auto query = TRY(view.db().query("SELECT envelope FROM shortcut WHERE snapshot = ?", snapshot));
    if (!TRY(query.next())) return fail(ErrorKind::NotFound, cat("there is no shortcut of snapshot ", snapshot.hex()));
    return std::string{query.blob(0)};
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
    const auto top = TRY(get_snapshot(txn, snapshot)), below = TRY(get_snapshot(txn, base));
    const auto payload = TRY(payload_of(top, below, layer.layer().digest));
    if (!TRY(is_ancestor(txn, base, snapshot)))
        return fail(ErrorKind::Invalid, cat(base.hex(), " is not an ancestor of ", snapshot.hex()));
    // What is signed here vouches for both of them from now on.
    for (const Snapshot* const one : {&top, &below})
        TRY(verify_snapshot(txn, *one, {&key.public_key(), 1}));
    TRY(add_layer(txn, layer));
    const auto envelope = TRY(security::seal_document(kShortcutType, payload, key));
    TRY(txn.db().execute("INSERT INTO shortcut(snapshot, base, layer, envelope) VALUES(?, ?, ?, ?) "
                         "ON CONFLICT(snapshot) DO UPDATE SET base = excluded.base, layer = excluded.layer, "
                         "envelope = excluded.envelope",
                         snapshot, base, TRY(layer_row_id(txn, layer.layer().digest)), Blob{envelope}));
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

Result<> check_base(const View& view, const Shortcut& shortcut)
{
    if (TRY(is_ancestor(view, shortcut.base, shortcut.snapshot))) return {};
    return fail(ErrorKind::Corrupt,
                cat("shortcut of snapshot ", shortcut.snapshot.hex(), ": its base is not an ancestor"));
}

Result<> verify_shortcut(const View& view, const CheckedManifests& manifests, const Shortcut& shortcut)
{
    const auto verify = [&]() -> Result<> {
        const auto payload = TRY(payload_of(TRY(get_snapshot(view, shortcut.snapshot)),
                                            TRY(get_snapshot(view, shortcut.base)), shortcut.layer));
        return manifests.prove_signed(TRY(envelope_of(view, shortcut.snapshot)), kShortcutType, payload);
    };
    TRY_DOING(cat("shortcut of snapshot ", shortcut.snapshot.hex()), verify());
    return check_base(view, shortcut);
}

namespace {

/// The layer of a row, when the row's digests fit each other: then it is the one that was signed.
Result<Layer> proved_layer(const View& view, const LayerDigest& digest)
{
    auto layer = TRY(get_layer(view, digest));
    if (layer_digest(layer.metadata, layer.root) == digest) return layer;
    return fail(Error{ErrorKind::Corrupt, cat("layer ", digest.hex(), ": its digests in the database do not fit")}.hint(
        "run coppice system fsck"));
}

struct Jump {
    StackPart part;
    std::size_t to = 0; ///< where in the line its base is
};

Result<std::unordered_set<SnapshotId, security::HashOfName>> with_shortcuts(const View& view)
{
    std::unordered_set<SnapshotId, security::HashOfName> found;
    auto query = TRY(view.db().query("SELECT snapshot FROM shortcut"));
    while (TRY(query.next()))
        found.insert(TRY(query.name<SnapshotId>(0)));
    return found;
}

/// From `line[at]` by its shortcut, if it has one that this node has signed and that leads to an ancestor.
Result<std::optional<Jump>> find_jump(const View& view, const CheckedManifests& manifests,
                                      const std::vector<Snapshot>& line, std::size_t at)
{
    const auto shortcut = TRY(find_shortcut(view, line[at].id));
    if (!shortcut) return std::optional<Jump>{};
    const auto make = [&]() -> Result<Jump> {
        const auto base = std::find_if(line.begin() + static_cast<std::ptrdiff_t>(at) + 1, line.end(),
                                       [&](const Snapshot& one) { return one.id == shortcut->base; });
        if (base == line.end()) return fail(ErrorKind::Corrupt, "its base is not an ancestor");
        const auto payload = TRY(payload_of(line[at], *base, shortcut->layer));
        TRY(manifests.prove_signed(TRY(envelope_of(view, shortcut->snapshot)), kShortcutType, payload));
        Jump jump{.part = {.snapshot = line[at].id, .layer = {}, .base = shortcut->base},
                  .to = static_cast<std::size_t>(base - line.begin())};
        jump.part.layer = TRY(proved_layer(view, shortcut->layer));
        return jump;
    };
    auto made = make();
    if (made) return std::optional{*std::move(made)};
    // It stops nobody: the layers themselves are there, and fsck tells of it.
    log::warn("store", "a shortcut is wrong and not used",
              {{"snapshot", shortcut->snapshot.hex()}, {"error", made.error().line()}});
    return std::optional<Jump>{};
}

} // namespace

Result<std::vector<StackPart>> stack_parts(const View& view, const CheckedManifests& manifests, const SnapshotId& id,
                                           Shortcuts use)
{
    const auto line = TRY(ancestors(view, id));
    std::unordered_set<SnapshotId, security::HashOfName> shortened;
    if (use == Shortcuts::Use) shortened = TRY(with_shortcuts(view));
    std::vector<StackPart> parts;
    std::optional<ManifestDigest> named; // what was proved so far says this of the next one
    for (std::size_t at = 0; at < line.size(); ++at) {
        const Snapshot& one = line[at];
        if (one.state != SnapshotState::Sealed) {
            parts.push_back({.snapshot = one.id, .layer = {}, .base = {}});
            continue;
        }
        const auto jump = shortened.contains(one.id) ? TRY(find_jump(view, manifests, line, at)) : std::nullopt;
        if (jump && (!named || *named == one.manifest)) {
            parts.push_back(jump->part);
            named = line[jump->to].manifest;
            at = jump->to - 1;
            continue;
        }
        named = TRY(manifests.prove(view, one, named));
        if (!one.layer) continue;
        parts.push_back({.snapshot = one.id, .layer = TRY(proved_layer(view, *one.layer)), .base = {}});
    }
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
