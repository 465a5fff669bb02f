#include "chunk_rows.h"

#include "coppice/base/text.h"

namespace coppice::store {

Result<ChunkRow> read_chunk_row(const Query& query)
{
    ChunkRow row;
    row.id = query.integer(0);
    row.chunk.plain = TRY(query.name<PlainDigest>(1));
    row.chunk.stored = TRY(query.name<StoredDigest>(2));
    row.chunk.plain_bytes = static_cast<std::uint32_t>(query.integer(3));
    row.chunk.stored_bytes = static_cast<std::uint32_t>(query.integer(4));
    row.chunk.codec = static_cast<Codec>(query.integer(5));
    row.place = {.pack = query.size(6), .offset = query.size(7)};
    TRY_DOING("store.db", check_chunk(row.chunk));
    return row;
}

Result<std::optional<ChunkRow>> find_chunk(Connection& db, const PlainDigest& plain)
{
    static const std::string kSql = cat("SELECT ", kChunkColumns, " FROM chunk WHERE plain = ?");
    auto query = TRY(db.query(kSql, plain));
    if (!TRY(query.next())) return std::optional<ChunkRow>{};
    return std::optional<ChunkRow>{TRY(read_chunk_row(query))};
}

namespace {

Result<> pin(Connection& db, std::int64_t session, std::int64_t chunk)
{
    TRY(db.execute("INSERT OR IGNORE INTO pin(session, chunk) VALUES(?, ?)", session, chunk));
    return {};
}

} // namespace

Result<std::optional<ChunkRow>> claim_chunk(Connection& db, std::int64_t session, const PlainDigest& plain)
{
    auto row = TRY(find_chunk(db, plain));
    if (!row) return row;
    TRY(db.execute("UPDATE chunk SET trashed = NULL WHERE id = ? AND trashed IS NOT NULL", row->id));
    TRY(pin(db, session, row->id));
    return row;
}

Result<ChunkRow> enter_chunk(Connection& db, std::int64_t session, const Chunk& chunk, const Place& place)
{
    if (auto first = TRY(claim_chunk(db, session, chunk.plain))) {
        TRY(db.execute("INSERT INTO hole(pack, offset, bytes) VALUES(?, ?, ?)", place.pack, place.offset,
                       chunk.stored_bytes));
        return *first;
    }
    TRY(db.execute("INSERT INTO chunk(plain, stored, plain_bytes, stored_bytes, codec, pack, offset) "
                   "VALUES(?, ?, ?, ?, ?, ?, ?)",
                   chunk.plain, chunk.stored, chunk.plain_bytes, chunk.stored_bytes, chunk.codec, place.pack,
                   place.offset));
    const ChunkRow row{.id = db.last_id(), .chunk = chunk, .place = place};
    TRY(pin(db, session, row.id));
    return row;
}

Result<std::uint64_t> reserve_pack(Connection& db)
{
    // The rows of removed packs go, so the largest number ever used is kept by AUTOINCREMENT.
    TRY(db.execute("INSERT INTO pack(bytes, closed) VALUES(?, 0)", std::uint64_t{kPackHeaderBytes}));
    return static_cast<std::uint64_t>(db.last_id());
}

Result<> commit_pack(Connection& db, std::uint64_t pack, std::uint64_t bytes, bool closed)
{
    TRY(db.execute("UPDATE pack SET bytes = ?, closed = ? WHERE id = ?", bytes, closed ? 1 : 0, pack));
    return {};
}

Result<std::vector<HoleRow>> holes_of_pack(Connection& db, std::int64_t pack)
{
    std::vector<HoleRow> holes;
    auto query = TRY(
        db.query("SELECT offset, bytes, EXISTS(SELECT 1 FROM chunk c WHERE c.pack = h.pack AND c.offset > h.offset - ? "
                 "AND c.offset - ? < h.offset + h.bytes AND c.offset + c.stored_bytes > h.offset) "
                 "FROM hole h WHERE h.pack = ? ORDER BY offset",
                 kChunkMaxBytes, kChunkHeaderBytes, pack));
    while (TRY(query.next()))
        holes.push_back({.offset = query.size(0), .bytes = query.size(1), .overlaps = query.integer(2) != 0});
    return holes;
}

Result<> remove_hole(Connection& db, std::int64_t pack, const HoleRow& hole)
{
    TRY(db.execute("DELETE FROM hole WHERE pack = ? AND offset = ? AND bytes = ?", pack, hole.offset, hole.bytes));
    return {};
}

Result<std::int64_t> begin_session(Connection& db, const std::string& key)
{
    TRY(db.execute(
        "INSERT INTO session(key, touched) VALUES(?, ?) ON CONFLICT(key) DO UPDATE SET touched = excluded.touched", key,
        now()));
    return db.number("SELECT id FROM session WHERE key = ?", key);
}

Result<> touch_session(Connection& db, std::int64_t session)
{
    TRY(db.execute("UPDATE session SET touched = ? WHERE id = ?", now(), session));
    return {};
}

Result<> end_session(Connection& db, std::int64_t session)
{
    TRY(db.execute("DELETE FROM session WHERE id = ?", session));
    return {};
}

} // namespace coppice::store
