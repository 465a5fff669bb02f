#include "coppice/security/sha256.h"
#include "coppice/store/chunk_table.h"
#include "coppice/store/manifest.h"
#include "coppice/store/pack.h"
#include "support.h"

namespace coppice::store {
namespace {

using test::fails_as;
using test::succeeds;
using test::value_of;

Chunk raw_chunk(const std::string& plain)
{
    Chunk chunk;
    chunk.plain = security::sha256<PlainDigest>(plain);
    Compressor{1}.store(plain, chunk);
    chunk.codec = Codec::Raw;
    chunk.stored = StoredDigest::from_raw(chunk.plain.raw());
    chunk.stored_bytes = chunk.plain_bytes;
    return chunk;
}

Chunk packed_chunk(const std::string& plain, std::string* stored = nullptr)
{
    Chunk chunk;
    chunk.plain = security::sha256<PlainDigest>(plain);
    Compressor compressor{3};
    const auto bytes = compressor.store(plain, chunk);
    if (stored != nullptr) *stored = bytes;
    return chunk;
}

ChunkTable table_of(int count)
{
    ChunkTable table;
    for (int i = 0; i < count; ++i)
        value_of(table.add(packed_chunk(test::chunk_of(i, 4096U << (i % 4)))));
    return table;
}

TEST(ChunkTableTest, Vectors) // docs/format/chunk-table.md
{
    ChunkTable table;
    ASSERT_TRUE(succeeds(table.add(raw_chunk(std::string(4096, 'a')))));
    EXPECT_EQ(table.encode().digest.hex(), "65b9a7e62b895d16a988696548b05c242e400e917d01d92136f39022873ebe6f");
    EXPECT_EQ(layer_digest(MetadataDigest::from_raw(std::string(32, '\xaa')),
                           value_of(security::MerkleRoot::parse(
                               "2f958048602ec097e8b1ae52e3dfe53f67351aa97cfe9728218e29382c8bb70d")))
                  .hex(),
              "6db7a3ba9108c2802fb2c42039d0cf316f4293694f0cc4c7aa9f8b85ad91f32b");
}

TEST(ChunkTableTest, ThereAndBack)
{
    for (const int count : {0, 1, 2, 7, 100}) {
        const auto table = table_of(count);
        const auto encoded = table.encode();
        EXPECT_EQ(encoded.bytes.size(), 104 + 80 * static_cast<std::size_t>(count));
        const auto again = value_of(ChunkTable::parse(encoded.bytes));
        ASSERT_EQ(again.size(), table.size());
        for (std::size_t i = 0; i < table.size(); ++i) {
            EXPECT_EQ(again[i], table[i]);
            EXPECT_EQ(again.find(again.offset(i)), i);
            EXPECT_EQ(again.find(again.offset(i + 1) - 1), i);
        }
        EXPECT_EQ(again.find(again.blob_bytes()), again.size());
        EXPECT_EQ(again.root(), table.root());
    }
}

TEST(ChunkTableTest, EveryFlippedBitIsSeen)
{
    const auto bytes = table_of(3).encode().bytes;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        std::string damaged = bytes;
        damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
        EXPECT_FALSE(ChunkTable::parse(damaged)) << i;
    }
    for (std::size_t size = 0; size < bytes.size(); size += 7)
        EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "chunk table", ChunkTable::parse(bytes.substr(0, size))));
    EXPECT_FALSE(ChunkTable::parse(bytes + '\0'));
}

/// The digest is right, the content is not: what a forger would write.
std::string with_digest(std::string bytes)
{
    bytes.resize(bytes.size() - 32);
    return bytes + std::string{security::sha256(bytes).raw()};
}

TEST(ChunkTableTest, ForgedContentIsSeen)
{
    const auto bytes = table_of(2).encode().bytes;
    const auto changed = [&](std::size_t at, char value) {
        std::string forged = bytes;
        forged[at] = value;
        return ChunkTable::parse(with_digest(forged));
    };
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "length does not fit", changed(16, 3)));
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "length does not fit", changed(23, '\x7f'))); // count 2^62
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "size of its blob", changed(25, '\x77')));
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "Merkle root", changed(40, '\x77')));
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "header", changed(64, 81)));
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "Merkle root", changed(72 + 3, '\x77'))); // plain hash
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "plain length", changed(72 + 64, 1)));    // not aligned
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "plain length", changed(72 + 67, 1)));    // 16 MiB
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "stored length", changed(72 + 70, 1)));   // larger than plain
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "codec", changed(72 + 72, 9)));
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "reserved", changed(72 + 74, 1)));
    EXPECT_TRUE(fails_as(ErrorKind::Unsupported, "version", changed(8, 2)));
    EXPECT_TRUE(fails_as(ErrorKind::Unsupported, "algorithm", changed(12, 2)));
    std::string swapped = bytes.substr(0, 72) + bytes.substr(152, 80) + bytes.substr(72, 80) + bytes.substr(232);
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "Merkle root", ChunkTable::parse(with_digest(swapped))));
}

TEST(ChunkTest, UnpackChecksBothHashesAndTheLength)
{
    const std::string plain = test::chunk_of(1);
    std::string stored;
    const auto chunk = packed_chunk(plain, &stored);
    ASSERT_EQ(chunk.codec, Codec::Zstd);
    std::string out(kChunkMaxBytes, '\0');
    ASSERT_TRUE(succeeds(unpack_chunk(chunk, stored, out.data())));
    EXPECT_EQ(out.substr(0, plain.size()), plain);

    std::string flipped = stored;
    flipped[100] = static_cast<char>(flipped[100] ^ 1);
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "stored bytes", unpack_chunk(chunk, flipped, out.data())));
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "stored bytes", unpack_chunk(chunk, stored.substr(1), out.data())));
    auto other = chunk;
    other.plain.bytes[0] ^= 1;
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "another one", unpack_chunk(other, stored, out.data())));
    other = chunk;
    other.plain_bytes -= 4096;
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "its length", unpack_chunk(other, stored, out.data())));
    other = chunk;
    other.stored = security::sha256<StoredDigest>(flipped);
    EXPECT_FALSE(unpack_chunk(other, flipped, out.data()));
}

TEST(ChunkTest, ABombIsStopped)
{
    // 256 KiB of zeros in few bytes, said to be 4096: nothing is written behind these
    std::string stored;
    auto chunk = packed_chunk(std::string(kChunkMaxBytes, '\0'), &stored);
    chunk.plain_bytes = 4096;
    std::string out(kChunkMaxBytes, '#');
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "its length", unpack_chunk(chunk, stored, out.data())));
    EXPECT_EQ(out.substr(4096), std::string(kChunkMaxBytes - 4096, '#'));
}

TEST(PackTest, Vectors) // docs/format/pack.md
{
    const auto header = encode_pack_header(7);
    EXPECT_EQ(security::to_hex({header.data(), header.size()}),
              "4350435041434b0001000000000000000700000000000000cd80a6657d7e1e7b");
    const auto chunk = encode_chunk_header(raw_chunk(std::string(4096, 'a')), 7, 32);
    EXPECT_EQ(security::sha256(std::string_view{chunk.data(), chunk.size()}).hex(),
              "11bfd2f960582091fe65d1e101c2f1a2b239113ddbd31fdcf4fb2f10299b6f60");
}

struct Scan {
    std::vector<ScannedChunk> chunks;
    Result<std::uint64_t> end;
};
Scan scan(const std::string& file, std::uint64_t number = 7)
{
    Scan result;
    result.end = scan_pack(
        number,
        [&](std::uint64_t offset, std::size_t size, std::string& out) -> Result<> {
            out = offset < file.size() ? file.substr(offset, size) : "";
            return {};
        },
        [&](const ScannedChunk& chunk) -> Result<> {
            result.chunks.push_back(chunk);
            return {};
        });
    return result;
}

std::string pack_of(int count)
{
    const auto header = encode_pack_header(7);
    std::string file{header.data(), header.size()};
    for (int i = 0; i < count; ++i) {
        std::string stored;
        const auto chunk = packed_chunk(test::chunk_of(i, 8192), &stored);
        const auto chunk_header = encode_chunk_header(chunk, 7, file.size());
        file.append(chunk_header.data(), chunk_header.size());
        file += stored;
    }
    return file;
}

TEST(PackTest, ScanFindsWhatWasWritten)
{
    const auto file = pack_of(5);
    const auto all = scan(file);
    ASSERT_EQ(all.chunks.size(), 5U);
    EXPECT_EQ(value_of(all.end), file.size());
    for (int i = 0; i < 5; ++i) {
        EXPECT_EQ(all.chunks[static_cast<std::size_t>(i)].chunk, packed_chunk(test::chunk_of(i, 8192)));
        EXPECT_TRUE(all.chunks[static_cast<std::size_t>(i)].sound);
    }
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "header is damaged", scan(file, 8).end)); // a pack under another name
    EXPECT_EQ(scan(file.substr(0, file.size() - 1)).chunks.size(), 4U);                // cut short
}

TEST(PackTest, HolesAndMovedHeaders)
{
    auto file = pack_of(3);
    const auto second = scan(file).chunks[1];
    std::string punched = file;
    punched.replace(second.offset, second.chunk.stored_bytes, second.chunk.stored_bytes, '\0');
    const auto with_hole = scan(punched);
    ASSERT_EQ(with_hole.chunks.size(), 3U);
    EXPECT_TRUE(with_hole.chunks[0].sound && !with_hole.chunks[1].sound && with_hole.chunks[2].sound);
    // A chunk's bytes moved to another place are not taken for one.
    const std::string moved = file.substr(0, kPackHeaderBytes) + file.substr(second.offset - kChunkHeaderBytes);
    EXPECT_TRUE(scan(moved).chunks.empty());
}

Manifest full_manifest()
{
    Manifest manifest;
    manifest.id = security::make_random<SnapshotId>();
    manifest.vdisk = security::make_random<VdiskId>();
    manifest.vdisk_name = "debian";
    manifest.parent =
        Manifest::Parent{.id = security::make_random<SnapshotId>(), .manifest = security::sha256<ManifestDigest>()};
    manifest.seq = 7;
    manifest.epoch = 3;
    Layer layer;
    layer.metadata = security::sha256<MetadataDigest>(std::string_view{"m"});
    layer.table = security::sha256<TableDigest>(std::string_view{"t"});
    layer.digest = layer_digest(layer.metadata, layer.root);
    layer.blob_bytes = 4096;
    layer.chunks = 1;
    manifest.layer = layer;
    manifest.encryption =
        Manifest::Encryption{.algorithm = "aes-256-gcm", .key = security::sha256<security::KeyId>(), .salt_epoch = 2};
    manifest.config = R"({"Cmd":["/bin/sh"]})";
    manifest.profiles = {security::sha256(std::string_view{"p"})};
    manifest.author = "spiffe://c/user/anna";
    manifest.author_certificate = security::sha256();
    manifest.policy = security::sha256();
    manifest.created = now();
    manifest.message = "quotes \" and ümlauts";
    return manifest;
}

TEST(ManifestTest, ThereAndBack)
{
    const auto manifest = full_manifest();
    EXPECT_EQ(value_of(parse_manifest(value_of(encode_manifest(manifest)))), manifest);
    Manifest least;
    least.vdisk_name = "d";
    least.seq = 1;
    least.author = "a";
    EXPECT_EQ(value_of(parse_manifest(value_of(encode_manifest(least)))), least);
    const auto key = security::SigningKey::make();
    const std::vector trusted{key.public_key()};
    const auto envelope = value_of(security::seal_document(kManifestType, value_of(encode_manifest(manifest)), key));
    EXPECT_EQ(value_of(verify_manifest(envelope, trusted)).manifest, manifest);
}

TEST(ManifestTest, WhatCannotBeSaidIsRefused)
{
    auto manifest = full_manifest();
    manifest.message = std::string(65537, 'x');
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "message", encode_manifest(manifest)));
    manifest.message = "\xff";
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "UTF-8", encode_manifest(manifest)));
    manifest = full_manifest();
    manifest.vdisk_name = "../x";
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "name", encode_manifest(manifest)));
    manifest = full_manifest();
    manifest.layer->digest.bytes[0] ^= 1;
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "not that of", encode_manifest(manifest)));
}

TEST(ManifestTest, ParserIsStrict)
{
    const auto good = value_of(encode_manifest(full_manifest()));
    const auto with = [&](const std::string& from, const std::string& to) {
        std::string text = good;
        const auto at = text.find(from);
        EXPECT_NE(at, std::string::npos) << from;
        return parse_manifest(text.replace(at, from.size(), to));
    };
    ASSERT_TRUE(succeeds(parse_manifest(good)));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "not known", with("{\"author\"", "{\"more\":1,\"author\"")));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "not known", with("\"salt_epoch\"", "\"x\":0,\"salt_epoch\"")));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "two members", with("{\"author\"", "{\"author\":\"x\",\"author\"")));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "lacks", with("\"policy\"", "\"polizy\"")));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "seq", with("\"seq\":7", "\"seq\":-7")));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "seq", with("\"seq\":7", "\"seq\":0")));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "seq", with("\"seq\":7", "\"seq\":7.5")));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "seq", with("\"seq\":7", "\"seq\":9223372036854775808")));
    EXPECT_TRUE(fails_as(ErrorKind::Unsupported, "version 2", with("\"version\":1", "\"version\":2")));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "type", with("snapshot.v1", "snapshot.v2")));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "config", with("{\"Cmd\":[\"/bin/sh\"]}", "[]")));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "created", with("Z\"", "+\"")));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "hex digits", with("\"id\":\"", "\"id\":\"A")));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "hex digits", with("\"profiles\":[\"", "\"profiles\":[\"x")));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "too large", parse_manifest(std::string(700'001, ' '))));
}

} // namespace
} // namespace coppice::store
