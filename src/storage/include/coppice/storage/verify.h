#pragma once

#include "coppice/store/snapshot.h"
#include "coppice/store/watch.h"

#include <cstdint>
#include <functional>
#include <string>

namespace coppice::storage {

struct Verified {
    std::uint64_t snapshots = 0;         ///< whose manifests were checked: the snapshot and all that it comes from
    std::uint64_t chunks = 0, bytes = 0; ///< of content that was read and compared
    std::string signer;                  ///< id of the key that has signed
};

enum class Depth : unsigned char {
    Chain, ///< signatures, parents, and that the database says the same; the digests of metadata and chunk tables
    Deep,  ///< and every chunk of every layer, as it lies in the packs
};

/// Proves a sealed snapshot, from its signature down to its content. @param watch asked before each layer and each
/// chunk, with the bytes read so far; its error ends the work
/// Errors: Denied (a signature), Corrupt (anything that is not what it should be), Conflict (not sealed yet), NotFound
Result<Verified> verify(store::Store& store, const store::SnapshotId& id, Depth depth, const store::Watch& watch);

} // namespace coppice::storage
