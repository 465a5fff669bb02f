#pragma once

#include "coppice/store/manifest.h"
#include "coppice/store/snapshot.h"

#include <span>

namespace coppice::store {

/// Makes a snapshot sealed: enters its layer, writes and signs the manifest from the database's rows, all in this
/// transaction.
/// @param layer what its frozen directory, or the import, became; null: no change against the parent
/// @param bytes Snapshot::bytes, when it is known only now. No part of what is signed
/// Errors: NotFound; Conflict (sealed already; the parent is not sealed; a root without layer); Denied, Corrupt (the
/// parent's manifest is not what the database says)
Result<ManifestDigest> seal_snapshot(Txn& txn, const SnapshotId& id, const StagedLayer* layer,
                                     const security::SigningKey& key, std::optional<std::uint64_t> bytes = {});

/// Envelope of a sealed snapshot. Errors: NotFound; Conflict (not sealed yet)
Result<std::string> read_envelope(const View& view, const SnapshotId& id);

/// Checks the manifest of a sealed snapshot: its signature, that its parent's digest is the parent's, and that what it
/// says is what the database says. Errors: Denied (signature), Corrupt, NotFound, Conflict (not sealed)
Result<> verify_snapshot(const View& view, const Snapshot& snapshot, std::span<const security::PublicKey> trusted);

/// The same for everything it comes from, too. @returns how many manifests
Result<std::size_t> verify_chain(const View& view, const SnapshotId& id, std::span<const security::PublicKey> trusted);

/// What the manifest of this snapshot has to say according to the rows; `layer` as in its row.
Result<Manifest> expected_manifest(const View& view, const Snapshot& snapshot);

} // namespace coppice::store
