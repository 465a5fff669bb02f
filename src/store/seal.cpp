#include "coppice/store/seal.h"

#include "connection.h"
#include "coppice/base/text.h"
#include "coppice/store/vdisk.h"
#include "stage.h"

namespace coppice::store {

namespace {

Error not_sealed(const SnapshotId& id)
{
    return Error{ErrorKind::Conflict, cat("snapshot ", id.hex(), " is not sealed yet")};
}

} // namespace

Result<Manifest> expected_manifest(const View& view, const Snapshot& snapshot)
{
    Manifest manifest;
    manifest.id = snapshot.id;
    manifest.vdisk = snapshot.vdisk;
    manifest.vdisk_name = TRY(get_vdisk(view, snapshot.vdisk)).name;
    if (snapshot.parent) {
        const auto parent = TRY(get_snapshot(view, *snapshot.parent));
        if (!parent.manifest) return fail(not_sealed(parent.id).hint("ancestors are sealed first"));
        manifest.parent = Manifest::Parent{.id = parent.id, .manifest = *parent.manifest};
    }
    manifest.seq = snapshot.seq;
    manifest.epoch = snapshot.epoch;
    if (snapshot.layer) manifest.layer = TRY(get_layer(view, *snapshot.layer));
    manifest.config = TRY(config_of(view, snapshot.id));
    manifest.author = snapshot.author;
    manifest.created = snapshot.created;
    manifest.message = snapshot.message;
    return manifest;
}

Result<ManifestDigest> seal_snapshot(Txn& txn, const SnapshotId& id, const StagedLayer* layer,
                                     const security::SigningKey& key, std::optional<std::uint64_t> bytes)
{
    auto snapshot = TRY(get_snapshot(txn, id));
    if (snapshot.state == SnapshotState::Sealed)
        return fail(ErrorKind::Conflict, cat("snapshot ", id.hex(), " is sealed already"));
    if (layer == nullptr && !snapshot.parent)
        return fail(ErrorKind::Conflict, cat("snapshot ", id.hex(), " has neither a parent nor a layer"));
    std::optional<std::int64_t> row;
    if (layer != nullptr) {
        TRY(add_layer(txn, *layer));
        snapshot.layer = layer->layer().digest;
        row = TRY(layer_row_id(txn, layer->layer().digest));
    }
    const auto manifest = TRY(expected_manifest(txn, snapshot));
    if (snapshot.parent) // what is signed here vouches for it from now on
        TRY(verify_snapshot(txn, TRY(get_snapshot(txn, *snapshot.parent)), {&key.public_key(), 1}));
    const auto payload = TRY(encode_manifest(manifest));
    const auto envelope = TRY(security::seal_document(kManifestType, payload, key));
    const auto digest = security::sha256<ManifestDigest>(security::pre_authentication(kManifestType, payload));
    TRY(txn.db().execute("UPDATE snapshot SET state = ?, layer = ?, manifest = ?, bytes = ? WHERE id = ?",
                         SnapshotState::Sealed, row, digest, bytes.value_or(snapshot.bytes), id));
    TRY(txn.db().execute("UPDATE document SET envelope = ? WHERE snapshot = ?", Blob{envelope}, id));
    return digest;
}

Result<std::string> read_envelope(const View& view, const SnapshotId& id)
{
    auto query = TRY(view.db().query("SELECT envelope FROM document WHERE snapshot = ?", id));
    if (!TRY(query.next())) return fail(ErrorKind::NotFound, cat("there is no snapshot ", id.hex()));
    if (query.is_null(0)) return fail(not_sealed(id));
    return std::string{query.blob(0)};
}

Result<> verify_snapshot(const View& view, const Snapshot& snapshot, std::span<const security::PublicKey> trusted)
{
    const std::string doing = cat("snapshot ", snapshot.id.hex());
    const auto envelope = TRY_DOING(doing, read_envelope(view, snapshot.id));
    const auto verified = TRY_DOING(doing, verify_manifest(envelope, trusted));
    if (verified.digest != snapshot.manifest)
        return fail(ErrorKind::Corrupt, cat(doing, ": the database names another manifest"));
    // Only the name of the vdisk, which may have changed, and what has no row of its own, may differ from the rows.
    auto expected = TRY_DOING(doing, expected_manifest(view, snapshot));
    expected.vdisk_name = verified.manifest.vdisk_name;
    expected.encryption = verified.manifest.encryption;
    expected.profiles = verified.manifest.profiles;
    expected.author_certificate = verified.manifest.author_certificate;
    expected.policy = verified.manifest.policy;
    if (verified.manifest != expected)
        return fail(ErrorKind::Corrupt, cat(doing, ": its manifest says something else than the database"));
    return {};
}

Result<std::size_t> verify_chain(const View& view, const SnapshotId& id, std::span<const security::PublicKey> trusted)
{
    const auto line = TRY(ancestors(view, id));
    for (const Snapshot& snapshot : line)
        TRY(verify_snapshot(view, snapshot, trusted));
    return line.size();
}

} // namespace coppice::store
