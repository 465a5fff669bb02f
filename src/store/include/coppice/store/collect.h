#pragma once

#include "coppice/store/store.h"

namespace coppice::store {

struct CollectOptions {
    std::int64_t grace_seconds = 24L * 3600;       ///< between "nobody needs it" and its removal
    std::int64_t session_seconds = 24L * 3600;     ///< an ingest that was not touched so long is given up
    std::int64_t request_seconds = 7L * 24 * 3600; ///< idempotency keys are remembered so long
};

struct Collected {
    std::uint64_t trashed_layers = 0, trashed_chunks = 0; ///< newly found to be needed by nobody
    std::uint64_t removed_layers = 0, removed_chunks = 0, freed_bytes = 0;
    std::uint64_t removed_packs = 0, punched = 0;
    std::uint64_t given_up_sessions = 0, ended_leases = 0;
};

/// Finds what nobody needs, removes what nobody has needed for the grace period. Runs beside ingests and readers: what
/// counts is asked again in each deleting transaction. Interrupted at any point, the next one goes on. One at a time,
/// and not beside fsck: it waits for one, which may take hours. Any thread. Errors: those of the disk and the database
Result<Collected> collect(Store& store, const CollectOptions& options = {});

} // namespace coppice::store
