#include "coppice/base/text.h"
#include "layer_fixture.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace coppice::vdisk {
namespace {

using namespace coppice::vdisk::test;
using coppice::test::fails_as;
using coppice::test::succeeds;

// --- the test vectors of docs/format/layer.md

TestTree make_empty() { return {}; }

TestTree make_kinds()
{
    TestTree t;
    t.directory("dir");
    const auto file = t.file("dir/file", "hello\n");
    t.put("dir/again", file);
    t.link("dir/link", "file");
    t.add("dir/null", S_IFCHR | 0666, {.major = 1, .minor = 3});
    t.add("dir/disk", S_IFBLK | 0660, {.major = 259, .minor = 70000});
    t.add("fifo", S_IFIFO | 0600);
    t.add("socket", S_IFSOCK | 0755);
    t.put("gone", value_of(t.tree.add_whiteout()));
    const auto opaque = t.directory("opaque");
    value_of(t.tree.set_xattrs(opaque, {{"trusted.overlay.opaque", "y"}}));
    value_of(t.tree.set_xattrs(file, {{"user.b", "2"}, {"security.x", std::string(5, '\0')}, {"user.a", ""}}));
    value_of(t.tree.set_attributes(
        opaque,
        {.mode = S_IFDIR | 01777, .uid = 70000, .gid = 80000, .mtime = {.seconds = -2, .nanoseconds = 999'999'999}}));
    return t;
}

TestTree make_pieces()
{
    TestTree t;
    for (const std::size_t bytes : {1U, 4096U, 4097U, 61440U, 61441U, 65536U, 262144U, 262145U, 700000U})
        t.file(cat("f", bytes), noise(bytes, bytes));
    t.file("zeros", std::string(300000, '\0'));
    t.file("half", std::string(262144, '\0') + "x" + std::string(262144, '\0'));
    for (int i = 0; i < 200; ++i)
        t.file(cat("small", i), noise(static_cast<std::size_t>(100 + 37 * i), static_cast<std::uint64_t>(i)));
    return t;
}

TestTree make_directories()
{
    TestTree t;
    t.directory("many");
    for (int i = 0; i < 300; ++i)
        t.directory(cat("many/", i, "-", std::string(static_cast<std::size_t>(i % 240), 'n')));
    t.link("long", std::string(4095, 'l'));
    t.link("block", std::string(4032, 'b'));
    const auto file = t.file("attributes", "");
    value_of(t.tree.set_xattrs(file, {{"user.long", noise(65535, 1)}, {"user.z", noise(9000, 2)}}));
    t.file(std::string(255, 'a'), "x");
    return t;
}

struct Vector {
    const char* name;
    TestTree (*make)();
    LayerSize size;
    const char *metadata, *blob;
};
const std::array<Vector, 4> kVectors{{
    {"empty",
     make_empty,
     {.metadata_bytes = 4096, .blob_bytes = 0, .chunks = 0, .inodes = 1, .file_bytes = 0},
     "1f78ffe2c177190ca049699cd49b306e9cdf73c821212b9e656f3cc53e9acd5e",
     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"kinds",
     make_kinds,
     {.metadata_bytes = 4096, .blob_bytes = 4096, .chunks = 1, .inodes = 10, .file_bytes = 6},
     "b588c564cd7ca988e607a08004feec667a6ed9b6036250e2cf7d1e3d185355f1",
     "c173bcc93e6de18149b1c53a28b85e7a4f2f8fa61b7f6d8ff6998f4442e8e7c1"},
    {"pieces",
     make_pieces,
     {.metadata_bytes = 28672, .blob_bytes = 2891776, .chunks = 31, .inodes = 212, .file_bytes = 3001489},
     "af3ecf7216e0f43ddf4700cb06c9f9c1ea95c1af4ab627a3e7be6cb810643728",
     "ba08777dd22a303eab96907040e4383fc2deb6a3b5b4a783260b23dad9feaee1"},
    {"directories",
     make_directories,
     {.metadata_bytes = 151552, .blob_bytes = 4096, .chunks = 1, .inodes = 306, .file_bytes = 1},
     "38ae0f93325af92fb542f6fedae3d4fbb648cc52ab0829c8e786aa0c72abf4cc",
     "71e5143d1d4bc35a17dd90dab781bfaf505c613b2bb50fbeaeae51e51dacf810"},
}};

TEST(LayerVectorTest, GiveTheSpecifiedBytes)
{
    for (const Vector& vector : kVectors) {
        TestTree t = vector.make();
        const auto layer = write(t.tree);
        EXPECT_EQ(layer->size, vector.size)
            << vector.name << ": " << layer->size.metadata_bytes << ", " << layer->size.blob_bytes << ", "
            << layer->size.chunks << ", " << layer->size.inodes << ", " << layer->size.file_bytes;
        EXPECT_EQ(sha256(layer->metadata), vector.metadata) << vector.name;
        EXPECT_EQ(sha256(layer->blob), vector.blob) << vector.name;
    }
}

TEST(LayerVectorTest, CanBeReadAgain)
{
    for (const Vector& vector : kVectors) {
        TestTree t = vector.make();
        const auto layer = write(t.tree);
        auto again = layer->reread();
        ASSERT_TRUE(succeeds(again)) << vector.name;
        EXPECT_EQ(describe(*again), describe(t.tree)) << vector.name;
        EXPECT_EQ(write(*again)->metadata, layer->metadata) << vector.name;
    }
}

// --- the blob

/// The root's place is fixed, however long it is; directories behind it move to where they fit.
TEST(LayerVectorTest, DirectoriesOfAnySizeCanBeReadAgain)
{
    for (const bool in_root : {true, false})
        for (std::size_t names = 0; names <= 520; names += names < 300 ? 1 : 13) {
            TestTree t;
            if (!in_root) t.directory("d");
            for (std::size_t i = 0; i < names; ++i)
                t.file(cat(in_root ? "" : "d/", "file", i), "");
            auto read = write(t.tree)->reread();
            ASSERT_TRUE(succeeds(read)) << names << (in_root ? " names in the root" : " names");
            ASSERT_EQ(describe(*read), describe(t.tree)) << names;
        }
}

TEST(BlobTest, LargePiecesAreChunksAndSmallOnesArePacked)
{
    TestTree t;
    t.file("a", noise(300'000, 1)); // 256 KiB, and 37856 bytes
    t.file("b", noise(65'536, 2));
    t.file("c", noise(100, 3));
    const auto layer = write(t.tree);
    ASSERT_GE(layer->chunks.size(), 3U);
    EXPECT_EQ(layer->chunks[0], 262144U);
    std::size_t sum = 0;
    for (const std::size_t chunk : layer->chunks) {
        EXPECT_LE(chunk, 262144U);
        EXPECT_EQ(chunk % 4096, 0U);
        sum += chunk;
    }
    EXPECT_EQ(sum, 262144U + 40960 + 65536 + 4096);
    EXPECT_EQ(sum, layer->size.blob_bytes);
}

TEST(BlobTest, PacksFollowTheContent)
{
    TestTree before, after;
    for (int i = 0; i < 2000; ++i) {
        const std::string name = cat("f", 10000 + i), content = noise(5000, static_cast<std::uint64_t>(i));
        before.file(name, content);
        if (i == 1000) after.file("f10999-inserted", noise(12'345, 99));
        after.file(name, content);
    }
    const auto chunks_of = [](const WrittenLayer& layer) {
        std::map<std::string, std::size_t> found;
        std::size_t at = 0;
        for (const std::size_t size : layer.chunks)
            found[layer.blob.substr(std::exchange(at, at + size), size)] = size;
        return found;
    };
    const auto old_chunks = chunks_of(*write(before.tree)), new_chunks = chunks_of(*write(after.tree));
    std::size_t added = 0, all = 0;
    for (const auto& [bytes, size] : new_chunks) {
        all += size;
        if (!old_chunks.contains(bytes)) added += size;
    }
    EXPECT_LE(added, 524288U) << "of " << all; // the pack that it came into, and the next
    const std::size_t average = all / new_chunks.size();
    EXPECT_GT(average, 40'000U);
    EXPECT_LT(average, 90'000U);
}

TEST(BlobTest, ZerosAreHolesWhateverTheSourceSays)
{
    TestTree t;
    t.file("zeros", std::string(1'000'000, '\0'));
    const auto layer = write(t.tree);
    EXPECT_EQ(layer->blob, "");
    auto reader = value_of(layer->reader());
    const auto inode = value_of(reader.inode(value_of(reader.find("zeros")).value()));
    std::uint64_t sum = 0;
    EXPECT_TRUE(succeeds(reader.extents(inode, [&](const Extent& extent) {
        EXPECT_FALSE(extent.blob_offset);
        EXPECT_EQ(extent.offset, sum);
        sum += extent.bytes;
        return Result<>{};
    })));
    EXPECT_EQ(sum, 1'000'000U);
}

/// A file that has become shorter since the tree was read.
class ShortSource final : public ContentSource {
public:
    Result<std::unique_ptr<OpenContent>> open(std::uint64_t, std::uint64_t) const override
    {
        return std::make_unique<MemoryContent>("short");
    }
};

TEST(BlobTest, AFileThatChangedIsNamed)
{
    TestTree t;
    t.directory("dir");
    const auto file = t.file("dir/file", "x");
    t.tree.set_content(file, std::make_shared<ShortSource>(), 0, 1000);
    WrittenLayer layer;
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "/dir/file", write_layer(t.tree, layer, layer)));
    EXPECT_EQ(layer.metadata, "");
}

class FullSink final : public store::ChunkSink {
public:
    Result<> put(std::string_view) override { return fail(ErrorKind::Unavailable, "disk full"); }
};

TEST(BlobTest, TheSinksErrorEndsIt)
{
    TestTree t;
    t.file("file", "x");
    WrittenLayer layer;
    FullSink full;
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "disk full", write_layer(t.tree, full, layer)));
}

// --- limits

TEST(LayerLimitTest, DepthIsLimited)
{
    for (const int depth : {2048, 2049}) {
        TestTree t;
        InodeId at = Tree::root();
        for (int i = 0; i < depth; ++i) {
            const auto next = value_of(t.tree.add({.mode = S_IFDIR | 0755}));
            value_of(t.tree.link(at, "d", next));
            at = next;
        }
        WrittenLayer layer;
        const auto written = write_layer(t.tree, layer, layer);
        if (depth == 2048)
            EXPECT_TRUE(succeeds(value_of(layer.reader()).check()));
        else
            EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "2048 directories", written));
    }
}

class HoleSource final : public ContentSource {
    class Hole final : public OpenContent {
        Result<> read(std::uint64_t, std::span<char> out) const override
        {
            std::fill(out.begin(), out.end(), '\0');
            return {};
        }
        [[nodiscard]] std::uint64_t next_data(std::uint64_t) const override { return UINT64_MAX; }
    };

public:
    Result<std::unique_ptr<OpenContent>> open(std::uint64_t, std::uint64_t) const override
    {
        return std::make_unique<Hole>();
    }
};

TEST(LayerLimitTest, LogicalBytesAreLimited)
{
    const auto source = std::make_shared<HoleSource>();
    TestTree t;
    t.tree.set_content(t.file("a", ""), source, 0, 1ULL << 40U);
    const auto layer = write(t.tree);
    EXPECT_EQ(layer->size.file_bytes, 1ULL << 40U);
    EXPECT_TRUE(succeeds(value_of(layer->reader()).check()));
    t.tree.set_content(t.file("b", ""), source, 0, (1ULL << 43U) - (1ULL << 40U) + 1);
    WrittenLayer refused;
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "8 TiB", write_layer(t.tree, refused, refused)));
    t.tree.set_content(t.tree.find_path("b").value(), source, 0, UINT64_MAX);
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "8 TiB", write_layer(t.tree, refused, refused)));
}

// --- properties

RC_GTEST_PROP(LayerPropertyTest, RoundTrip, (const std::vector<Op>& ops))
{
    TestTree t = make_tree(ops);
    const auto layer = write(t.tree);
    auto again = value_of(layer->reread());
    RC_ASSERT(describe(again) == describe(t.tree));
    const auto second = write(again);
    RC_ASSERT(second->metadata == layer->metadata);
    RC_ASSERT(second->blob == layer->blob);
}

RC_GTEST_PROP(LayerPropertyTest, TheOrderOfMakingDoesNotMatter, (const std::vector<Op>& ops, std::uint32_t seed))
{
    TestTree t = make_tree(ops);
    // The same tree, made in another order, with names that were taken away again.
    Tree other;
    std::map<InodeId, InodeId> made{{Tree::root(), Tree::root()}};
    const std::function<void(InodeId)> copy = [&](InodeId directory) {
        auto all = t.tree.entries(directory);
        std::rotate(all.begin(), all.begin() + (all.empty() ? 0 : static_cast<long>(seed % all.size())), all.end());
        std::reverse(all.begin(), all.end());
        for (const auto& entry : all) {
            if (!made.contains(entry.inode)) {
                const auto inode = value_of(other.add(t.tree.attributes(entry.inode), t.tree.device(entry.inode)));
                made[entry.inode] = inode;
                if (t.tree.is_link(entry.inode)) value_of(other.set_target(inode, t.tree.target(entry.inode)));
                if (t.tree.is_file(entry.inode)) {
                    const auto content = content_of(t.tree, entry.inode);
                    other.set_content(inode, t.source, t.source->add(content), content.size());
                }
                value_of(other.set_xattrs(inode, t.tree.xattrs(entry.inode)));
            }
            const std::string passing = cat("passing", entry.name.substr(0, 200));
            if (!other.find(made[directory], passing)) {
                value_of(other.link(made[directory], passing, value_of(other.add({.mode = S_IFREG}))));
                RC_ASSERT(other.unlink(made[directory], passing));
            }
            value_of(other.link(made[directory], entry.name, made[entry.inode]));
            if (t.tree.is_directory(entry.inode)) copy(entry.inode);
        }
    };
    copy(Tree::root());
    const auto first = write(t.tree), second = write(other);
    RC_ASSERT(first->metadata == second->metadata);
    RC_ASSERT(first->blob == second->blob);
}

} // namespace
} // namespace coppice::vdisk
