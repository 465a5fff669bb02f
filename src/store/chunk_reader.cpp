#include "coppice/store/chunk_reader.h"

#include "chunk_rows.h"
#include "coppice/base/text.h"
#include "coppice/security/sha256.h"
#include "packs.h"

#include <algorithm>
#include <array>

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

Result<std::string> ChunkReader::read_stored(const Chunk& chunk) const
{
    auto bytes = TRY(read_bytes(*store_, chunk));
    if (security::sha256<StoredDigest>(bytes) != chunk.stored)
        return fail(Error{ErrorKind::Corrupt, cat("chunk ", chunk.plain.hex(), ": its stored bytes are damaged")}.hint(
            "run coppice system fsck"));
    return bytes;
}

Result<> ChunkReader::read_plain(const Chunk& chunk, char* plain) const
{
    const auto bytes = TRY(read_bytes(*store_, chunk));
    return unpack_chunk(chunk, bytes, plain);
}

Result<> ChunkReader::read_range(const ChunkTable& table, std::uint64_t offset, char* data, std::size_t size) const
{
    if (offset > table.blob_bytes() || size > table.blob_bytes() - offset)
        return fail(ErrorKind::Invalid, cat(size, " bytes from ", offset, " are beyond the end of the blob"));
    std::string plain;
    for (std::size_t index = table.find(offset); size > 0; ++index) {
        const std::uint64_t skip = offset - table.offset(index);
        const std::size_t part = std::min<std::size_t>(size, table[index].plain_bytes - skip);
        if (part == table[index].plain_bytes) {
            TRY(read_plain(table[index], data));
        } else {
            plain.resize(table[index].plain_bytes);
            TRY(read_plain(table[index], plain.data()));
            std::memcpy(data, plain.data() + skip, part);
        }
        data += part;
        size -= part;
        offset += part;
    }
    return {};
}

} // namespace coppice::store
