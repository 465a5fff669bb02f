#pragma once

#include "coppice/store/chunk_table.h"
#include "coppice/store/store.h"

#include <string>

namespace coppice::store {

/// Reads chunks out of the packs; every byte is checked on the way. Any thread. Source: docs/format/pack.md
class ChunkReader {
public:
    explicit ChunkReader(const Store& store) : store_{&store} {}

    /// The stored bytes of a chunk, checked against its stored hash: what goes over the wire.
    /// Errors: NotFound (the store does not have it), Corrupt (its bytes are not what they should be)
    [[nodiscard]] Result<std::string> read_stored(const Chunk& chunk) const;
    /// The plain bytes, both hashes checked. @param plain at least chunk.plain_bytes
    [[nodiscard]] Result<> read_plain(const Chunk& chunk, char* plain) const;
    /// Part of a blob, chunk by chunk. Errors: Invalid (beyond the end), NotFound, Corrupt
    [[nodiscard]] Result<> read_range(const ChunkTable& table, std::uint64_t offset, char* data,
                                      std::size_t size) const;

private:
    const Store* store_;
};

} // namespace coppice::store
