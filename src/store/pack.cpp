#include "coppice/store/pack.h"

#include "coppice/base/text.h"
#include "coppice/security/sha256.h"
#include "fields.h"

#include <algorithm>

namespace coppice::store {

namespace {

constexpr std::string_view kPackMagic{"CPCPACK\0", 8};
constexpr std::string_view kChunkMagic{"CHNK"};
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kCheckBytes = 16;

security::Sha256Digest check_of(std::string_view header, std::uint64_t pack, std::uint64_t offset)
{
    std::array<char, 16> place{};
    put_number(place.data(), pack);
    put_number(place.data() + 8, offset);
    return security::sha256(header.substr(0, kChunkHeaderBytes - kCheckBytes),
                            std::string_view{place.data(), place.size()});
}

} // namespace

PackHeader encode_pack_header(std::uint64_t number)
{
    PackHeader header{};
    put_bytes(header.data(), kPackMagic);
    put_number(header.data() + 8, kVersion);
    put_number(header.data() + 16, number);
    put_bytes(header.data() + 24, security::sha256(std::string_view{header.data(), 24}).raw().substr(0, 8));
    return header;
}

Result<> check_pack_header(std::string_view header, std::uint64_t number)
{
    if (header.size() == kPackHeaderBytes && header.starts_with(kPackMagic)) {
        const auto version = get_number<std::uint32_t>(header.data() + 8);
        if (version > kVersion)
            return fail(Error{ErrorKind::Unsupported, cat("pack ", number, " has version ", version)}.hint(
                "use a newer coppice"));
        const PackHeader wanted = encode_pack_header(number);
        if (header == std::string_view{wanted.data(), wanted.size()}) return {};
    }
    return fail(ErrorKind::Corrupt, cat("pack ", number, ": its header is damaged"));
}

ChunkHeader encode_chunk_header(const Chunk& chunk, std::uint64_t pack, std::uint64_t offset)
{
    ChunkHeader header{};
    put_bytes(header.data(), kChunkMagic);
    put_number(header.data() + 4, static_cast<std::uint16_t>(chunk.codec));
    put_number(header.data() + 8, chunk.plain_bytes);
    put_number(header.data() + 12, chunk.stored_bytes);
    put_bytes(header.data() + 16, chunk.plain.raw());
    put_bytes(header.data() + 48, chunk.stored.raw());
    const auto check = check_of({header.data(), header.size()}, pack, offset);
    put_bytes(header.data() + 80, check.raw().substr(0, kCheckBytes));
    return header;
}

Result<Chunk> parse_chunk_header(std::string_view header, std::uint64_t pack, std::uint64_t offset)
{
    const auto damaged = [&] { return fail(ErrorKind::Corrupt, cat("pack ", pack, ": no chunk at byte ", offset)); };
    if (header.size() != kChunkHeaderBytes || !header.starts_with(kChunkMagic)) return damaged();
    if (check_of(header, pack, offset).raw().substr(0, kCheckBytes) != header.substr(80)) return damaged();
    const Chunk chunk{.plain = PlainDigest::from_raw(header.substr(16, 32)),
                      .stored = StoredDigest::from_raw(header.substr(48, 32)),
                      .plain_bytes = get_number<std::uint32_t>(header.data() + 8),
                      .stored_bytes = get_number<std::uint32_t>(header.data() + 12),
                      .codec = static_cast<Codec>(get_number<std::uint16_t>(header.data() + 4))};
    if (get_number<std::uint16_t>(header.data() + 6) != 0 || !check_chunk(chunk)) return damaged();
    return chunk;
}

Result<std::uint64_t> scan_pack(std::uint64_t number,
                                const std::function<Result<>(std::uint64_t, std::size_t, std::string&)>& read,
                                const std::function<Result<>(const ScannedChunk&)>& visit)
{
    std::string bytes;
    TRY(read(0, kPackHeaderBytes, bytes));
    TRY(check_pack_header(bytes, number));
    std::uint64_t at = kPackHeaderBytes;
    for (;;) {
        TRY(read(at, kChunkHeaderBytes, bytes));
        const auto chunk = parse_chunk_header(bytes, number, at);
        if (!chunk) return at; // the end, or the tail of a write that was never committed
        const std::uint64_t stored_at = at + kChunkHeaderBytes;
        TRY(read(stored_at, chunk->stored_bytes, bytes));
        if (bytes.size() != chunk->stored_bytes) return at;
        TRY(visit(
            {.chunk = *chunk, .offset = stored_at, .sound = security::sha256<StoredDigest>(bytes) == chunk->stored}));
        at = stored_at + chunk->stored_bytes;
    }
}

} // namespace coppice::store
