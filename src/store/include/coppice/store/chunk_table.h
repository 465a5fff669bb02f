#pragma once

#include "coppice/store/chunk.h"

#include <string>
#include <vector>

namespace coppice::store {

/// What a blob consists of: its chunks in order. Source: docs/format/chunk-table.md
class ChunkTable {
public:
    static constexpr std::uint64_t kChunksMax = 1U << 24;

    ChunkTable() = default;
    /// Checks everything that the table says of itself, its digest and root included.
    /// Errors: Corrupt; Unsupported (a newer version or another algorithm)
    static Result<ChunkTable> parse(std::string_view bytes);

    /// Memory for so many; they may be more. @param chunks at most kChunksMax
    void reserve(std::size_t chunks);
    /// @param chunk must pass check_chunk. Errors: Unavailable (kChunksMax reached)
    Result<> add(const Chunk& chunk);

    struct Encoded {
        std::string bytes;
        TableDigest digest;
    };
    [[nodiscard]] Encoded encode() const;

    [[nodiscard]] std::size_t size() const { return chunks_.size(); }
    [[nodiscard]] const Chunk& operator[](std::size_t index) const { return chunks_[index]; }
    /// Where chunk `index` begins in the blob; with size() the end.
    [[nodiscard]] std::uint64_t offset(std::size_t index) const { return index == 0 ? 0 : ends_[index - 1]; }
    [[nodiscard]] std::uint64_t blob_bytes() const { return ends_.empty() ? 0 : ends_.back(); }
    [[nodiscard]] security::MerkleRoot root() const;
    /// The chunk that holds byte `offset` of the blob; size() behind its end.
    [[nodiscard]] std::size_t find(std::uint64_t offset) const;

private:
    std::vector<Chunk> chunks_;
    std::vector<std::uint64_t> ends_;
};

} // namespace coppice::store
