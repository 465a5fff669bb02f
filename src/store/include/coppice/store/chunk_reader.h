#pragma once

#include "coppice/store/chunk.h"
#include "coppice/store/store.h"

namespace coppice::store {

/// Reads chunks out of the packs; every byte is checked on the way. Any thread. Source: docs/format/pack.md
class ChunkReader {
public:
    explicit ChunkReader(const Store& store) : store_{&store} {}

    /// The plain bytes, both hashes checked. @param plain at least chunk.plain_bytes
    /// Errors: NotFound (the store does not have it), Corrupt (its bytes are not what they should be)
    [[nodiscard]] Result<> read_plain(const Chunk& chunk, char* plain) const;

private:
    const Store* store_;
};

} // namespace coppice::store
