#pragma once

#include "byte_stream.h"

namespace coppice::imports {

enum class Compression : unsigned char { None, Gzip, Zstd, Xz };

/// By the first bytes, at least kMagicBytes unless that is all there is.
Compression detect_compression(std::string_view first);
inline constexpr std::size_t kMagicBytes = 6;

/// What all streams of one import may give together: Limits::free_bytes, and Limits::ratio for each byte that came in.
/// So an archive within an archive, or a layer that an image names a hundred times, pays once only. One thread.
class UnpackBudget {
public:
    explicit UnpackBudget(const Limits& limits) : free_{limits.free_bytes}, ratio_{limits.ratio} {}
    /// Bytes that were not counted before.
    void pay(std::uint64_t bytes) { paid_ += bytes; }
    /// Errors: Unavailable (a bomb)
    Result<> take(std::uint64_t bytes, std::string_view name);

private:
    std::uint64_t free_, ratio_, paid_ = 0, given_ = 0;
};

/// What `input` (borrowed) is when it is unpacked; as it is when it is not packed. Members one after another are one
/// stream, as the programs gzip, zstd and xz have it. Memory: 128 MiB at most, whatever the input asks for.
/// @param budget borrowed. Zeros that come in pay nothing: a file with holes has them for nothing
/// @param pays false: the bytes of `input` were counted before
/// Errors of reading: Corrupt (damaged, cut short), Unavailable (the budget; more memory)
Result<std::unique_ptr<ByteStream>> decompress(ByteStream& input, UnpackBudget& budget, bool pays, std::string name);

} // namespace coppice::imports
