#pragma once

#include "coppice/os/fd.h"
#include "coppice/store/layer.h"
#include "coppice/store/watch.h"

#include <functional>

namespace coppice::store {

/// The plain blob of a layer is a cache: a file that is used as the layer's EROFS device, made again from the packs at
/// any time.
///
/// It counts as complete when its own sync was recorded, or when it was written since this machine started (a killed
/// process loses nothing that it had written; a power cut does, and comes with another boot id).

/// Opens the blob, read-only; makes it first if there is no complete one. Every chunk is verified on its way.
/// @param threads that unpack; 0: one per processor. Errors: Corrupt, Unavailable (disk full)
Result<os::Fd> open_blob(Store& store, const Layer& layer, unsigned threads = 0);

/// Whether there is a complete blob, by its record and its size.
Result<bool> has_blob(const Store& store, const Layer& layer);

/// Syncs the blobs that were written since the machine started and records it, so that they need not be made again
/// after the next start. Slow. One whose sync fails is removed; the others are gone on with. Errors: the first of these
/// @param go_on asked before each one
Result<> settle_blobs(Store& store, const std::function<bool()>& go_on = [] { return true; });

/// Compares a blob with its layer's table, chunk by chunk. Chunks that differ are written anew from the packs when
/// `repair`. What a kernel has mounted is not checked at each read: this is what finds bit rot below it.
struct Scrubbed {
    std::uint64_t chunks = 0, bad = 0;
};
Result<Scrubbed> scrub_blob(Store& store, const Layer& layer, bool repair, const Watch& watch = unwatched);

/// Removes the blob. The caller knows that nobody has it mounted.
Result<> evict_blob(Store& store, const LayerDigest& layer);

} // namespace coppice::store
