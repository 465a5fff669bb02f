#pragma once

#include "coppice/store/chunk.h"

#include <array>
#include <functional>
#include <string_view>

/// Pack files: stored chunks behind headers. Source: docs/format/pack.md
namespace coppice::store {

inline constexpr std::uint64_t kPackMaxBytes = 256U << 20;
inline constexpr std::size_t kPackHeaderBytes = 32;
inline constexpr std::size_t kChunkHeaderBytes = 96;

using PackHeader = std::array<char, kPackHeaderBytes>;
using ChunkHeader = std::array<char, kChunkHeaderBytes>;

PackHeader encode_pack_header(std::uint64_t number);
/// Errors: Corrupt; Unsupported (a newer version)
Result<> check_pack_header(std::string_view header, std::uint64_t number);

/// @param offset of the header in its pack
ChunkHeader encode_chunk_header(const Chunk& chunk, std::uint64_t pack, std::uint64_t offset);
/// @param header kChunkHeaderBytes. Errors: Corrupt
Result<Chunk> parse_chunk_header(std::string_view header, std::uint64_t pack, std::uint64_t offset);

/// A chunk that a scan came across.
struct ScannedChunk {
    Chunk chunk;
    std::uint64_t offset; ///< of the stored bytes
    bool sound;           ///< the stored bytes have the stored hash
};

/// Reads a pack from any origin and calls `visit` for every chunk with a sound header.
/// @param read fills a string with bytes at an offset; shorter at the end of the file
/// The result is where the scan ended: the end of the last chunk. Errors: Corrupt (the pack's own header), those of
/// `read` and `visit`
Result<std::uint64_t>
scan_pack(std::uint64_t number,
          const std::function<Result<>(std::uint64_t offset, std::size_t size, std::string& out)>& read,
          const std::function<Result<>(const ScannedChunk&)>& visit);

} // namespace coppice::store
