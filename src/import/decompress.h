#pragma once

#include "byte_stream.h"

namespace coppice::imports {

enum class Compression : unsigned char { None, Gzip, Zstd, Xz };

/// By the first bytes, at least kMagicBytes unless that is all there is.
Compression detect_compression(std::string_view first);
inline constexpr std::size_t kMagicBytes = 6;

/// What `input` (borrowed) is when it is unpacked; as it is when it is not packed. Members one after another are one
/// stream, as the programs gzip, zstd and xz have it. Memory: 128 MiB at most, whatever the input asks for.
/// Errors of reading: Corrupt (damaged, cut short), Unavailable (a bomb: more than Limits allow for so few bytes; more
/// memory)
Result<std::unique_ptr<ByteStream>> decompress(ByteStream& input, const Limits& limits, std::string name);

} // namespace coppice::imports
