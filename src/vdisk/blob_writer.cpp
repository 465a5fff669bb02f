#include "blob_writer.h"

#include <cstring>
#include <xxhash.h>

namespace coppice::vdisk {

namespace {

bool is_zero(std::string_view bytes) // not empty
{
    return bytes[0] == '\0' && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

bool closes_pack(std::string_view padded) { return (XXH3_64bits(padded.data(), padded.size()) >> 48U) < padded.size(); }

} // namespace

BlobWriter::BlobWriter(store::ChunkSink& sink) : sink_{sink}, buffer_(kPieceBytes, '\0') { pack_.reserve(kPieceBytes); }

Result<> BlobWriter::put(std::string_view chunk)
{
    if (blocks_ + chunk.size() / kBlockBytes > kMostBlocks)
        return fail(ErrorKind::Unavailable, "the files have more than 16 TiB of content");
    TRY(sink_.put(chunk));
    blocks_ += chunk.size() / kBlockBytes;
    ++chunks_;
    return {};
}

Result<> BlobWriter::close_pack()
{
    if (pack_.empty()) return {};
    const auto first = static_cast<std::uint32_t>(blocks_);
    TRY(put(pack_));
    for (const Packed& packed : packed_)
        piece_blocks_[packed.piece] = first + packed.block;
    packed_.clear();
    pack_.clear();
    return {};
}

Result<> BlobWriter::add_piece(std::string_view padded)
{
    if (padded.size() >= kChunkLeastBytes) {
        piece_blocks_.push_back(static_cast<std::uint32_t>(blocks_));
        return put(padded);
    }
    if (pack_.size() + padded.size() > kPieceBytes) TRY(close_pack());
    packed_.push_back({.piece = piece_blocks_.size(), .block = static_cast<std::uint32_t>(pack_.size() / kBlockBytes)});
    piece_blocks_.push_back(kHole);
    pack_ += padded;
    if (closes_pack(padded)) return close_pack();
    return {};
}

Result<> BlobWriter::add_file(const OpenContent& content, std::uint64_t bytes)
{
    for (std::uint64_t offset = 0; offset < bytes;) {
        const std::uint64_t size = std::min(kPieceBytes, bytes - offset), padded = round_up(size, kBlockBytes);
        if (content.next_data(offset) >= offset + size) { // a hole that need not be read
            piece_blocks_.push_back(kHole);
            offset += size;
            continue;
        }
        TRY(content.read(offset, {buffer_.data(), size}));
        std::memset(buffer_.data() + size, 0, padded - size);
        const auto piece = std::string_view{buffer_}.substr(0, padded);
        if (is_zero(piece))
            piece_blocks_.push_back(kHole);
        else
            TRY(add_piece(piece));
        offset += size;
    }
    return content.check_unchanged();
}

Result<> BlobWriter::finish() { return close_pack(); }

} // namespace coppice::vdisk
