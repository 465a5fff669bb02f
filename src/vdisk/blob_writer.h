#pragma once

#include "coppice/vdisk/layer_writer.h"
#include "erofs_format.h"

namespace coppice::vdisk {

/// Cuts files into pieces and pieces into chunks. Source: docs/format/layer.md, "Blob"
class BlobWriter {
public:
    explicit BlobWriter(store::ChunkSink& sink);

    /// The next file in walk order, of `bytes` bytes.
    Result<> add_file(const OpenContent& content, std::uint64_t bytes);
    Result<> finish();

    /// First block of each piece of the files added, in their order; kHole for holes. Complete after `finish`.
    [[nodiscard]] const Chunked<std::uint32_t>& piece_blocks() const { return piece_blocks_; }
    [[nodiscard]] std::uint64_t blocks() const { return blocks_; }
    [[nodiscard]] std::uint64_t chunks() const { return chunks_; }

private:
    Result<> add_piece(std::string_view padded);
    Result<> close_pack();
    Result<> put(std::string_view chunk);

    struct Packed {
        std::size_t piece;
        std::uint32_t block; ///< from the pack's start
    };
    store::ChunkSink& sink_;
    std::string buffer_; ///< one piece
    std::string pack_;
    std::vector<Packed> packed_;
    Chunked<std::uint32_t> piece_blocks_;
    std::uint64_t blocks_ = 0, chunks_ = 0;
};

} // namespace coppice::vdisk
