#pragma once

#include "connection.h"
#include "coppice/store/chunk.h"
#include "packs.h"

#include <optional>
#include <vector>

/// The tables session, pack, chunk, pin and hole: what ingest, readers and collection say to the database of chunks.
namespace coppice::store {

struct ChunkRow {
    std::int64_t id = 0;
    Chunk chunk;
    Place place;
};

/// Errors: NotFound-free: empty when there is none. Chunks in the trash are found, too: they are there still.
Result<std::optional<ChunkRow>> find_chunk(Connection& db, const PlainDigest& plain);
/// From a row of kChunkColumns.
Result<ChunkRow> read_chunk_row(const Query& query);
inline constexpr const char* kChunkColumns = "id, plain, stored, plain_bytes, stored_bytes, codec, pack, offset";

/// The row as the writing transaction sees it, out of the trash and pinned. Empty: it is gone, store the chunk.
Result<std::optional<ChunkRow>> claim_chunk(Connection& db, std::int64_t session, const PlainDigest& plain);
/// Enters a chunk and pins it. Somebody else may have been first: then that row, and ours becomes a hole.
Result<ChunkRow> enter_chunk(Connection& db, std::int64_t session, const Chunk& chunk, const Place& place);

/// A number for a new pack, with a row that says it has nothing yet.
Result<std::uint64_t> reserve_pack(Connection& db);
/// Says that a pack has `bytes` committed ones from now on.
Result<> commit_pack(Connection& db, std::uint64_t pack, std::uint64_t bytes, bool closed);

/// Holes of a pack, by offset.
Result<std::vector<HoleRow>> holes_of_pack(Connection& db, std::int64_t pack);
Result<> remove_hole(Connection& db, std::int64_t pack, const HoleRow& hole);

/// Begins or resumes a session. Its id.
Result<std::int64_t> begin_session(Connection& db, const std::string& key);
Result<> touch_session(Connection& db, std::int64_t session);
/// Ends it, with its pins.
Result<> end_session(Connection& db, std::int64_t session);

} // namespace coppice::store
