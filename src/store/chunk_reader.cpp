#include "coppice/store/chunk_reader.h"

#include "chunk_rows.h"
#include "coppice/base/text.h"
#include "packs.h"

namespace coppice::store {

namespace {

Result<std::string> read_bytes(const Store& store, const Chunk& chunk)
{
    TRY(check_chunk(chunk));
    const auto row = TRY(store.read([&](const View& view) { return find_chunk(view.db(), chunk.plain); }));
    if (!row)
        return fail(Error{ErrorKind::NotFound, cat("chunk ", chunk.plain.hex(), " is not in the store")}.hint(
            "run coppice system fsck"));
    if (row->chunk != chunk)
        return fail(
            Error{ErrorKind::Corrupt, cat("chunk ", chunk.plain.hex(), ": the database says something else")}.hint(
                "run coppice system fsck --full"));
    return store.packs().read(row->place, chunk.stored_bytes);
}

} // namespace

Result<> ChunkReader::read_plain(const Chunk& chunk, char* plain) const
{
    const auto bytes = TRY(read_bytes(*store_, chunk));
    return unpack_chunk(chunk, bytes, plain);
}

} // namespace coppice::store
