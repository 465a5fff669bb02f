#include "coppice/base/text.h"
#include "layer_fixture.h"

#include "erofs_format.h"
#include "uuid_hash.h"

#include <gtest/gtest.h>

#include <cstring>

namespace coppice::vdisk {
namespace {

using namespace coppice::vdisk::test;
using coppice::test::fails_as;
using coppice::test::succeeds;

/// Makes uuid and checksum right again, so that only the structure can tell.
void seal(std::string& metadata)
{
    char* const super = metadata.data() + kSuperblockOffset;
    std::memset(super + superblock::kUuid, 0, kUuidBytes);
    std::memset(super + superblock::kChecksum, 0, 4);
    UuidHash hash;
    hash.add(metadata);
    const std::string uuid = hash.uuid();
    std::copy(uuid.begin(), uuid.end(), super + superblock::kUuid);
    std::string first = metadata.substr(0, kBlockBytes);
    set_checksum(first);
    metadata.replace(0, kBlockBytes, first);
}

Result<Tree> read(const std::string& metadata, const std::string& blob = {})
{
    return read_layer(std::make_shared<MemoryContent>(metadata), metadata.size(),
                      std::make_shared<MemoryContent>(blob));
}

TestTree make_tree()
{
    TestTree t;
    t.directory("dir");
    t.directory("dir/sub");
    const auto file = t.file("dir/empty", "");
    t.put("dir/name", file);
    t.file("holes", std::string(300'000, '\0'));
    t.link("link", "target");
    t.link("long", std::string(4040, 'l'));
    t.add("null", S_IFCHR | 0666, {.major = 1, .minor = 3});
    t.put("white", value_of(t.tree.add_whiteout()));
    value_of(t.tree.set_xattrs(file, {{"user.abc", "value"}}));
    return t;
}

std::size_t inode_at(const WrittenLayer& layer, const std::string& path)
{
    auto reader = value_of(layer.reader());
    return static_cast<std::uint64_t>(value_of(reader.find(path)).value()) * kNidBytes;
}

/// A change to a layer that the reader must refuse though all sums are right.
testing::AssertionResult refuses(const WrittenLayer& layer, const std::function<void(std::string&)>& change,
                                 std::string_view message = "damaged layer metadata")
{
    std::string metadata = layer.metadata;
    change(metadata);
    seal(metadata);
    return fails_as(ErrorKind::Corrupt, message, read(metadata, layer.blob));
}

TEST(LayerReaderTest, WhatItAcceptsIsWhatTheWriterGives)
{
    TestTree t = make_tree();
    const auto layer = write(t.tree);
    int accepted = 0, refused = 0;
    for (std::size_t at = kSuperblockOffset; at < layer->metadata.size(); ++at) {
        // Padding in the middle of a large gap is as good as its ends.
        if (layer->metadata[at] == '\0' && at % 11 != 0 && at > 2500) continue;
        for (const int flip : {0x01, 0xc0}) {
            std::string metadata = layer->metadata;
            metadata[at] = static_cast<char>(metadata[at] ^ flip);
            seal(metadata);
            if (metadata == layer->metadata) continue; // uuid or checksum
            auto again = read(metadata);
            if (!again) {
                ASSERT_EQ(again.error().kind(), ErrorKind::Corrupt) << again.error().line();
                ++refused;
                continue;
            }
            ++accepted;
            ASSERT_EQ(write(*again)->metadata, metadata) << "byte " << at << " xor " << flip;
        }
    }
    EXPECT_GT(accepted, 300) << "owners, times, names: they may be anything";
    EXPECT_GT(refused, 2000);
}

TEST(LayerReaderTest, CutShort)
{
    TestTree t = make_tree();
    const auto layer = write(t.tree);
    for (std::size_t size = 0; size < layer->metadata.size(); size += 512) {
        std::string metadata = layer->metadata.substr(0, size);
        if (size >= kBlockBytes) seal(metadata);
        EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "damaged layer metadata", read(metadata))) << size;
    }
    std::string longer = layer->metadata + std::string(4096, '\0');
    put_at<std::uint32_t>(longer.data() + kSuperblockOffset + superblock::kBlocks,
                          static_cast<std::uint32_t>(longer.size() / 4096));
    seal(longer);
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "size", read(longer)));
}

TEST(LayerReaderTest, SumsAreChecked)
{
    TestTree t = make_tree();
    auto layer = write(t.tree);
    std::string metadata = layer->metadata;
    metadata[kSuperblockOffset + superblock::kChecksum] ^= 1;
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "checksum", read(metadata)));
    metadata = layer->metadata;
    metadata[metadata.size() - 4096 + 20] ^= 1; // in the long link's target
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "uuid", read(metadata)));
}

TEST(LayerReaderTest, LoopsAreRefused)
{
    TestTree t = make_tree();
    const auto layer = write(t.tree);
    const auto dir = inode_at(*layer, "dir"), sub = inode_at(*layer, "dir/sub"), empty = inode_at(*layer, "dir/empty");
    // The directory's inline block: "." ".." "empty" "name" "sub"
    const std::size_t entries = dir + kInodeBytes;
    EXPECT_TRUE(refuses(*layer, [&](std::string& m) {
        put_at<std::uint64_t>(m.data() + entries + 4 * kDirentBytes, dir / kNidBytes);
    })) << "a directory inside itself";
    EXPECT_TRUE(refuses(*layer, [&](std::string& m) {
        put_at<std::uint64_t>(m.data() + entries + 4 * kDirentBytes, 40);
    })) << "the root inside";
    EXPECT_TRUE(refuses(*layer, [&](std::string& m) {
        put_at<std::uint64_t>(m.data() + entries + kDirentBytes, sub / kNidBytes);
    })) << "another parent";
    EXPECT_TRUE(refuses(*layer, [&](std::string& m) {
        put_at<std::uint64_t>(m.data() + entries + 3 * kDirentBytes, empty / kNidBytes + 1);
    })) << "inside another inode";
    EXPECT_TRUE(refuses(*layer, [&](std::string& m) {
        put_at<std::uint64_t>(m.data() + entries + 3 * kDirentBytes, UINT64_MAX);
    })) << "outside";
    EXPECT_TRUE(refuses(*layer, [&](std::string& m) {
        put_at<std::uint64_t>(m.data() + entries + 3 * kDirentBytes, UINT64_MAX / kNidBytes + 41);
    })) << "outside, by overflow";
}

TEST(LayerReaderTest, GapsAreRefused)
{
    TestTree t;
    t.file("z", "");
    const auto layer = write(t.tree);
    const auto at = inode_at(*layer, "z");
    EXPECT_TRUE(refuses(
        *layer,
        [&](std::string& m) {
            m.replace(at, 32 + kInodeBytes, std::string(32, '\0') + m.substr(at, kInodeBytes));
            put_at<std::uint64_t>(m.data() + kInodesOffset + kInodeBytes + 2 * kDirentBytes, at / kNidBytes + 1);
        },
        "place"));
}

TEST(LayerReaderTest, ImpossibleNamesAreRefused)
{
    TestTree t = make_tree();
    const auto layer = write(t.tree);
    const auto at = layer->metadata.find("...emptynamesub");
    ASSERT_NE(at, std::string::npos);
    const auto with = [&](std::string_view names) {
        return refuses(*layer, [&](std::string& m) { m.replace(at, names.size(), names); });
    };
    EXPECT_TRUE(with("...em/tynamesub"));
    EXPECT_TRUE(with("...nameynamesub")) << "out of order";
    EXPECT_TRUE(with("...emptynamenam")) << "out of order";
    EXPECT_TRUE(with(std::string_view{"...em\0tynamesub", 15}));
    EXPECT_TRUE(with("x..emptynamesub")) << "no '.'";
}

TEST(LayerReaderTest, LinkCountsMustBeRight)
{
    TestTree t = make_tree();
    const auto layer = write(t.tree);
    for (const char* const path : {"dir/empty", "dir", "null", ""})
        for (const int change : {-1, 1})
            EXPECT_TRUE(refuses(
                *layer,
                [&](std::string& m) {
                    char* const links = m.data() + inode_at(*layer, path) + inode::kNlink;
                    put_at(links, static_cast<std::uint32_t>(get<std::uint32_t>({links, 4}, 0) +
                                                             static_cast<unsigned>(change)));
                },
                "link count"))
                << path;
}

TEST(LayerReaderTest, AddressesMustBeInTheBlob)
{
    TestTree t;
    t.file("file", noise(300'000, 1));
    const auto layer = write(t.tree);
    const std::size_t indexes = inode_at(*layer, "file") + kInodeBytes;
    const auto set = [&](std::uint16_t device, std::uint32_t block) {
        return refuses(
            *layer,
            [&](std::string& m) {
                put_at(m.data() + indexes + 2, device);
                put_at(m.data() + indexes + 4, block);
            },
            "address");
    };
    const auto blocks = static_cast<std::uint32_t>(layer->blob.size() / kBlockBytes);
    EXPECT_TRUE(set(1, blocks));
    EXPECT_TRUE(set(1, blocks - 63));
    EXPECT_TRUE(set(1, kHole - 1));
    EXPECT_TRUE(set(1, kHole));
    EXPECT_TRUE(set(0, 0)) << "the metadata itself";
    EXPECT_TRUE(set(2, 0)) << "another device";
}

TEST(LayerReaderTest, ForgedMarksAreRefused)
{
    TestTree t = make_tree();
    const auto opaque = t.directory("opaque");
    value_of(t.tree.set_xattrs(opaque, {{"trusted.overlay.opaque", "y"}}));
    const auto layer = write(t.tree);
    const auto at = layer->metadata.find("overlay.opaquey");
    ASSERT_NE(at, std::string::npos);
    EXPECT_TRUE(refuses(*layer, [&](std::string& m) { m.replace(at, 14, "overlay.origin"); }, "attributes"));
    EXPECT_TRUE(refuses(*layer, [&](std::string& m) { m[at + 14] = 'x'; }, "attributes"));
    const auto white = inode_at(*layer, "white");
    EXPECT_TRUE(refuses(*layer, [&](std::string& m) { m[white + inode::kUid] = 1; }, "whiteout"));
    EXPECT_TRUE(refuses(*layer, [&](std::string& m) { m[white + inode::kMode] = 1; }, "whiteout"));
}

TEST(LayerReaderTest, ADirectoryTooDeepIsRefused)
{
    // The writer gives no such thing, so depth is what the last link of a chain as deep as can be is made of.
    TestTree t;
    InodeId at = Tree::root();
    for (int i = 0; i < 2048; ++i) {
        const auto next = value_of(t.tree.add({.mode = S_IFDIR | 0755}));
        value_of(t.tree.link(at, "d", next));
        at = next;
    }
    const auto layer = write(t.tree);
    EXPECT_TRUE(succeeds(layer->reread()));
}

TEST(LayerReaderTest, FindsByPath)
{
    TestTree t = make_tree();
    const auto layer = write(t.tree);
    auto reader = value_of(layer->reader());
    EXPECT_EQ(value_of(reader.find("")), LayerReader::root());
    EXPECT_EQ(value_of(reader.find("/dir//name")), value_of(reader.find("dir/empty")));
    EXPECT_FALSE(value_of(reader.find("dir/nothing")));
    EXPECT_FALSE(value_of(reader.find("link/x")));
    const auto link = value_of(reader.inode(value_of(reader.find("long")).value()));
    EXPECT_EQ(value_of(reader.target(link)), std::string(4040, 'l'));
}

TEST(FlatLayerTest, OnlyAddressesChange)
{
    TestTree t = make_tree();
    t.file("content", noise(700'000, 1));
    for (int i = 0; i < 3000; ++i)
        t.file(cat("small", i), noise(static_cast<std::size_t>(i % 50), static_cast<std::uint64_t>(i)));
    const auto layer = write(t.tree);
    WrittenLayer flat;
    ASSERT_TRUE(succeeds(value_of(layer->reader()).write_flat(flat)));
    ASSERT_EQ(flat.metadata.size(), layer->metadata.size());
    const auto blocks = static_cast<std::uint32_t>(layer->metadata.size() / kBlockBytes);
    std::size_t changed_indexes = 0;
    for (std::size_t at = kInodesOffset; at < flat.metadata.size(); at += 8) {
        const std::string_view before{layer->metadata.data() + at, 8}, after{flat.metadata.data() + at, 8};
        if (before == after) continue;
        ++changed_indexes;
        EXPECT_EQ(get<std::uint32_t>(after, 0), 0U);
        EXPECT_EQ(get<std::uint32_t>(after, 4), get<std::uint32_t>(before, 4) + blocks);
    }
    EXPECT_EQ(changed_indexes, 3U + 2940);
    const auto super = std::string_view{flat.metadata}.substr(kSuperblockOffset, kSuperblockBytes);
    EXPECT_EQ(get<std::uint32_t>(super, superblock::kBlocks), blocks + layer->blob.size() / kBlockBytes);
    EXPECT_EQ(get<std::uint16_t>(super, superblock::kExtraDevices), 0);
}

} // namespace
} // namespace coppice::vdisk
