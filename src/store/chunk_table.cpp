#include "coppice/store/chunk_table.h"

#include "coppice/base/text.h"
#include "coppice/security/sha256.h"
#include "fields.h"

#include <algorithm>

namespace coppice::store {

namespace {

constexpr std::string_view kMagic{"CPCHUNKS"};
constexpr std::uint32_t kVersion = 1;
constexpr std::uint16_t kSha256 = 1, kMerkle = 1;
constexpr std::size_t kHeaderBytes = 72, kEntryBytes = 80, kTrailerBytes = 32;

std::unexpected<Error> damaged(std::string_view what) { return fail(ErrorKind::Corrupt, cat("chunk table: ", what)); }

Result<Chunk> parse_entry(const char* entry)
{
    const Chunk chunk{.plain = PlainDigest::from_raw({entry, 32}),
                      .stored = StoredDigest::from_raw({entry + 32, 32}),
                      .plain_bytes = get_number<std::uint32_t>(entry + 64),
                      .stored_bytes = get_number<std::uint32_t>(entry + 68),
                      .codec = static_cast<Codec>(get_number<std::uint16_t>(entry + 72))};
    if (get_number<std::uint16_t>(entry + 74) != 0 || get_number<std::uint32_t>(entry + 76) != 0)
        return damaged("reserved fields are in use");
    TRY(check_chunk(chunk));
    return chunk;
}

} // namespace

void ChunkTable::reserve(std::size_t chunks)
{
    chunks_.reserve(chunks);
    ends_.reserve(chunks);
}

Result<> ChunkTable::add(const Chunk& chunk)
{
    TRY(check_chunk(chunk));
    if (chunks_.size() == kChunksMax)
        return fail(ErrorKind::Unavailable, cat("a layer can have at most ", kChunksMax, " chunks"));
    ends_.push_back(blob_bytes() + chunk.plain_bytes); // at most 2^24 times 2^18
    chunks_.push_back(chunk);
    return {};
}

security::MerkleRoot ChunkTable::root() const
{
    security::MerkleTree tree;
    for (const Chunk& chunk : chunks_)
        tree.add(chunk.plain.raw());
    return tree.root();
}

std::size_t ChunkTable::find(std::uint64_t offset) const
{
    return static_cast<std::size_t>(std::upper_bound(ends_.begin(), ends_.end(), offset) - ends_.begin());
}

ChunkTable::Encoded ChunkTable::encode() const
{
    std::string bytes(kHeaderBytes + kEntryBytes * chunks_.size() + kTrailerBytes, '\0');
    char* const header = bytes.data();
    put_bytes(header, kMagic);
    put_number(header + 8, kVersion);
    put_number(header + 12, kSha256);
    put_number(header + 14, kMerkle);
    put_number(header + 16, std::uint64_t{chunks_.size()});
    put_number(header + 24, blob_bytes());
    put_bytes(header + 32, root().raw());
    put_number(header + 64, std::uint32_t{kEntryBytes});
    char* entry = header + kHeaderBytes;
    for (const Chunk& chunk : chunks_) {
        put_bytes(entry, chunk.plain.raw());
        put_bytes(entry + 32, chunk.stored.raw());
        put_number(entry + 64, chunk.plain_bytes);
        put_number(entry + 68, chunk.stored_bytes);
        put_number(entry + 72, static_cast<std::uint16_t>(chunk.codec));
        entry += kEntryBytes;
    }
    const auto digest = security::sha256<TableDigest>(std::string_view{bytes}.substr(0, bytes.size() - kTrailerBytes));
    put_bytes(entry, digest.raw());
    return {.bytes = std::move(bytes), .digest = digest};
}

Result<ChunkTable> ChunkTable::parse(std::string_view bytes)
{
    if (bytes.size() < kHeaderBytes + kTrailerBytes || !bytes.starts_with(kMagic)) return damaged("this is none");
    if (const auto version = get_number<std::uint32_t>(bytes.data() + 8); version != kVersion)
        return fail(Error{ErrorKind::Unsupported, cat("chunk table: version ", version)}.hint("use a newer coppice"));
    if (get_number<std::uint16_t>(bytes.data() + 12) != kSha256 ||
        get_number<std::uint16_t>(bytes.data() + 14) != kMerkle)
        return fail(ErrorKind::Unsupported, "chunk table: another hash or tree algorithm");
    const auto count = get_number<std::uint64_t>(bytes.data() + 16);
    if (count > kChunksMax || bytes.size() != kHeaderBytes + kEntryBytes * count + kTrailerBytes)
        return damaged("its length does not fit its count of chunks");
    const auto body = bytes.substr(0, bytes.size() - kTrailerBytes);
    if (security::sha256(body).raw() != bytes.substr(body.size())) return damaged("its digest is wrong");
    if (get_number<std::uint32_t>(bytes.data() + 64) != kEntryBytes ||
        get_number<std::uint32_t>(bytes.data() + 68) != 0)
        return damaged("its header is damaged");
    ChunkTable table;
    table.reserve(count);
    for (std::uint64_t i = 0; i < count; ++i) {
        const auto chunk = TRY(parse_entry(bytes.data() + kHeaderBytes + kEntryBytes * i));
        TRY(table.add(chunk));
    }
    if (table.blob_bytes() != get_number<std::uint64_t>(bytes.data() + 24))
        return damaged("the size of its blob is wrong");
    if (table.root().raw() != bytes.substr(32, 32)) return damaged("its Merkle root is wrong");
    return table;
}

} // namespace coppice::store
