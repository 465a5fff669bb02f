#include "coppice/import/tree_import.h"

#include "support.h"

#include <gtest/gtest.h>

#include <lzma.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

namespace coppice::imports {
namespace {

using namespace coppice::imports::test;

class TarTest : public testing::Test, protected ImportFixture {
protected:
    /// What unnamed files of this process take on the disk.
    [[nodiscard]] static std::uint64_t spool_bytes()
    {
        std::uint64_t bytes = 0;
        for (const auto& name : value_of(os::list_directory(os::kCwd, "/proc/self/fd"))) {
            struct stat status{};
            if (::stat(("/proc/self/fd/" + name).c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
                status.st_nlink == 0)
                bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
        }
        return bytes;
    }
};

std::string zstd(std::string_view text)
{
    std::string out(ZSTD_compressBound(text.size()), '\0');
    out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
    return out;
}

/// @param dictionary bytes that a reader needs memory for
std::string xz(std::string_view text, std::uint32_t dictionary = 1U << 20)
{
    std::string out(text.size() + 65536, '\0');
    std::size_t used = 0;
    lzma_options_lzma options{};
    EXPECT_FALSE(lzma_lzma_preset(&options, 0));
    options.dict_size = dictionary;
    lzma_filter filters[] = {{.id = LZMA_FILTER_LZMA2, .options = &options},
                             {.id = LZMA_VLI_UNKNOWN, .options = nullptr}};
    EXPECT_EQ(lzma_stream_buffer_encode(filters, LZMA_CHECK_CRC32, nullptr,
                                        reinterpret_cast<const std::uint8_t*>(text.data()), text.size(),
                                        reinterpret_cast<std::uint8_t*>(out.data()), &used, out.size()),
              LZMA_OK);
    out.resize(used);
    return out;
}

TarMaker sample()
{
    TarMaker tar;
    tar.directory("./").directory("./etc/").file("./etc/motd", "hello\n").link("etc/issue", "motd");
    tar.hard_link("etc/same", "./etc/motd");
    tar.add({.path = "dev/null", .type = '3', .mode = 0666, .major = 1, .minor = 3});
    return tar;
}

void expect_sample(const vdisk::Tree& tree)
{
    EXPECT_EQ(content_of(tree, "etc/motd"), "hello\n");
    EXPECT_EQ(tree.find_path("etc/motd"), tree.find_path("etc/same"));
    EXPECT_EQ(tree.target(tree.find_path("etc/issue").value()), "motd");
    EXPECT_EQ(tree.device(tree.find_path("dev/null").value()), (vdisk::DeviceNumber{1, 3}));
    EXPECT_EQ(tree.attributes(tree.find_path("etc").value()).mode, S_IFDIR | 0755U);
    EXPECT_EQ(tree.attributes(tree.find_path("etc/motd").value()).mtime.seconds, 1'700'000'000);
}

TEST_F(TarTest, PlainAndPackedArchivesAreTheSame)
{
    const auto bytes = sample().finish();
    for (const auto& archive :
         {bytes, gzip(bytes), zstd(bytes), xz(bytes), gzip(bytes.substr(0, 600)) + gzip(bytes.substr(600))})
        expect_sample(value_of(tar(archive)).tree);
}

TEST_F(TarTest, PipesAreRead)
{
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    os::Fd reading{ends[0]};
    {
        const os::Fd writing{ends[1]};
        value_of(os::write_all(writing.get(), sample().finish(), "pipe"));
    }
    expect_sample(value_of(import_tar(std::move(reading), "pipe", {}, context)).tree);
}

TEST_F(TarTest, PaxRecordsCount)
{
    const std::string long_name = std::string(120, 'd') + "/" + std::string(200, 'f');
    TarMaker maker;
    maker.pax({{"mtime", "1600000000.000000001"}}, 'g');
    maker.pax({{"path", long_name},
               {"uid", "3000000"},
               {"mtime", "-1.25"},
               {"SCHILY.xattr.user.note", std::string{"a\nb\0c", 5}},
               {"SCHILY.xattr.trusted.overlay.redirect", "/secret"},
               {"SCHILY.acl.access", "user::rw-,user:1000:r--,group::r--,mask::r--,other::---"}});
    maker.file("short", "x").file("other", "y");
    const auto tree = value_of(tar(maker.finish())).tree;
    const auto inode = tree.find_path(long_name).value();
    EXPECT_EQ(tree.attributes(inode).uid, 3'000'000U);
    EXPECT_EQ(tree.attributes(inode).mtime, (vdisk::FileTime{-2, 750'000'000}));
    const auto xattrs = tree.xattrs(inode);
    ASSERT_EQ(xattrs.size(), 2U) << "trusted.* must be gone";
    EXPECT_EQ(xattrs[0].name, "system.posix_acl_access");
    EXPECT_EQ(xattrs[0].value.size(), 4U + 5 * 8);
    EXPECT_EQ(xattrs[1], (vdisk::Xattr{"user.note", std::string{"a\nb\0c", 5}}));
    EXPECT_EQ(tree.attributes(tree.find_path("other").value()).mtime, (vdisk::FileTime{1'600'000'000, 1}));
}

TEST_F(TarTest, SparseFilesOfAllForms)
{
    const std::string data = "data";
    std::string map = "2\n4096\n4\n1048576\n0\n";
    map.resize(512);
    TarMaker maker;
    maker.pax({{"GNU.sparse.major", "1"},
               {"GNU.sparse.minor", "0"},
               {"GNU.sparse.name", "one"},
               {"GNU.sparse.realsize", "1048576"}});
    maker.file("GNUSparseFile.1/one", map + data);
    maker.pax({{"GNU.sparse.size", "8192"}, {"GNU.sparse.map", "4096,4"}}).file("two", data);
    maker.pax({{"GNU.sparse.size", "8192"},
               {"GNU.sparse.numblocks", "1"},
               {"GNU.sparse.offset", "4096"},
               {"GNU.sparse.numbytes", "4"}});
    maker.file("three", data);
    TarMaker gnu;
    gnu.add({.path = "four", .type = 'S', .size = 4});
    std::string block = gnu.unfinished();
    block.replace(257, 8, std::string_view{"ustar  \0", 8});
    block.replace(386, 24, std::string_view{"00000010000\00000000000004\0", 24});
    block.replace(483, 12, std::string_view{"00000020000\0", 12});
    TarMaker::seal(block);
    maker.raw(block).data(data);
    const auto tree = value_of(tar(maker.finish())).tree;
    std::string wanted(8192, '\0');
    wanted.replace(4096, 4, data);
    for (const auto* const name : {"two", "three", "four"})
        EXPECT_EQ(content_of(tree, name), wanted) << name;
    wanted.resize(1048576);
    EXPECT_EQ(content_of(tree, "one"), wanted);
}

TEST_F(TarTest, TheLastOfTwoWins)
{
    TarMaker maker;
    maker.file("a", "first").file("a", "second").link("b", "a").directory("b").file("b/c", "below");
    maker.directory("b/"); // again: what is in it stays
    const auto tree = value_of(tar(maker.finish())).tree;
    EXPECT_EQ(content_of(tree, "a"), "second");
    EXPECT_EQ(content_of(tree, "b/c"), "below");
}

struct Hostile {
    const char* name;
    std::string archive;
    ErrorKind kind;
    const char* part;
};

std::vector<Hostile> hostile_archives()
{
    const auto one = [](const TarFields& fields) { return TarMaker{}.add(fields).finish(); };
    std::string bad_sum = TarMaker{}.file("a", "b").finish();
    bad_sum[150] ^= 1;
    using enum ErrorKind;
    return {
        {"parent", one({.path = "../escape"}), Invalid, "entry ../escape"},
        {"parent inside", one({.path = "a/../../escape"}), Invalid, "(..)"},
        {"absolute", one({.path = "/etc/passwd"}), Invalid, "entry /etc/passwd: an absolute name"},
        {"through link", TarMaker{}.link("out", "/etc").file("out/passwd", "x").finish(), Invalid, "symbolic link out"},
        {"through file", TarMaker{}.file("f", "").file("f/x", "").finish(), Invalid, "no directory"},
        {"hard link out", one({.path = "a", .type = '1', .target = "../../etc/shadow"}), Invalid, "(..)"},
        {"hard link absolute", one({.path = "a", .type = '1', .target = "/etc/shadow"}), Invalid, "absolute"},
        {"hard link to nothing", one({.path = "a", .type = '1', .target = "b"}), Invalid, "not there"},
        {"hard link through link",
         TarMaker{}.directory("d").file("d/f", "").link("l", "d").hard_link("a", "l/f").finish(), Invalid, "not there"},
        {"hard link to directory", TarMaker{}.directory("d").hard_link("a", "d").finish(), Invalid, "the directory d"},
        {"whiteout device", one({.path = "w", .type = '3'}), Invalid, "whiteout"},
        {"whiteout name", one({.path = "d/.wh.f"}), Invalid, ".wh."},
        {"root is a file", one({.path = "./", .type = '2', .target = "/"}), Invalid, "the root directory"},
        {"unknown type", one({.path = "m", .type = 'M'}), Unsupported, "type 'M'"},
        {"device number", one({.path = "d", .type = '4', .major = 4096, .minor = 1}), Invalid, "4096:1"},
        {"long name", TarMaker{}.pax({{"path", std::string(256, 'n')}}).file("a", "").finish(), Invalid, "255"},
        {"nul in name", TarMaker{}.pax({{"path", std::string{"a\0b", 3}}}).file("a", "").finish(), Invalid,
         "zero byte"},
        {"owner", TarMaker{}.pax({{"uid", "4294967295"}}).file("a", "").finish(), Corrupt, "4294967295"},
        {"checksum", bad_sum, Corrupt, "checksum"},
        {"no end", TarMaker{}.file("a", "b").unfinished(), Corrupt, "cut short"},
        {"cut in data", TarMaker{}.add({.path = "a", .size = 1 << 20}).unfinished(), Corrupt, "cut short"},
        {"pax length", TarMaker{}.add({.path = "p", .type = 'x', .content = "99 a=b\n"}).file("a", "").finish(),
         Corrupt, "extended header"},
        {"pax bomb", TarMaker{}.add({.path = "p", .type = 'x', .size = 1LL << 26}).finish(), Unavailable, "67108864"},
        {"xattr", TarMaker{}.pax({{"SCHILY.xattr.user.big", std::string(70'000, 'x')}}).file("a", "").finish(),
         Unavailable, "user.big"},
        {"xattr namespace", TarMaker{}.pax({{"SCHILY.xattr.system.nfs4_acl", "x"}}).file("a", "").finish(), Unsupported,
         "system.nfs4_acl"},
        {"sparse map",
         TarMaker{}.pax({{"GNU.sparse.size", "10"}, {"GNU.sparse.map", "8,4"}}).file("s", "data").finish(), Corrupt,
         "sparse"},
        {"sparse overlap",
         TarMaker{}.pax({{"GNU.sparse.size", "100"}, {"GNU.sparse.map", "8,2,9,2"}}).file("s", "data").finish(),
         Corrupt, "sparse"},
        {"sparse bomb",
         TarMaker{}.pax({{"GNU.sparse.size", "4398046511105"}, {"GNU.sparse.map", "0,4"}}).file("s", "data").finish(),
         Unavailable, "entry s"},
        {"replaces directory", TarMaker{}.directory("d").file("d/f", "").file("d", "").finish(), Invalid,
         "has entries"},
        {"cut gzip", gzip(sample().finish()).substr(0, 100), Corrupt, "archive"},
        {"gzip sum",
         [] {
             auto z = gzip(sample().finish());
             z[z.size() - 6] ^= 1;
             return z;
         }(),
         Corrupt, "gzip"},
        {"nothing", "", Corrupt, "cut short"},
    };
}

TEST_F(TarTest, HostileArchivesAreRefused)
{
    for (const Hostile& hostile : hostile_archives()) {
        SCOPED_TRACE(hostile.name);
        EXPECT_TRUE(fails_as(hostile.kind, hostile.part, tar(hostile.archive)));
        if (!hostile.archive.starts_with("\x1f\x8b")) {
            EXPECT_TRUE(fails_as(hostile.kind, hostile.part, tar(gzip(hostile.archive)))) << "packed";
        }
        EXPECT_EQ(names(), 1U) << "something else than the archive is there";
    }
}

TEST_F(TarTest, LimitsHold)
{
    context.limits.entries = 10;
    TarMaker many;
    for (int i = 0; i < 11; ++i)
        many.file("same", "");
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "10 entries", tar(many.finish())));

    context.limits.depth = 4;
    EXPECT_TRUE(succeeds(tar(TarMaker{}.file("a/b/c/d", "").finish())));
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "4 directories", tar(TarMaker{}.file("a/b/c/d/e", "").finish())));

    context.limits.path_bytes = 100;
    EXPECT_TRUE(fails_as(
        ErrorKind::Unavailable, "too long",
        tar(TarMaker{}.pax({{"path", std::string(60, 'a') + "/" + std::string(60, 'b')}}).file("a", "").finish())));
    context.limits.path_bytes = 4096;

    context.limits.text_bytes = 1000;
    TarMaker attributes;
    for (int i = 0; i < 4; ++i)
        attributes.pax({{"SCHILY.xattr.user.a", cat(i, std::string(300, 'v'))}}).file(cat("f", i), "");
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "of names and attributes", tar(attributes.finish())));
    context.limits.text_bytes = 1 << 20;

    context.limits.logical_bytes = 1000;
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "entry b",
                         tar(TarMaker{}.file("a", std::string(600, 'x')).file("b", std::string(600, 'x')).finish())));

    context.limits.free_bytes = 64 << 10;
    context.limits.logical_bytes = 1 << 30;
    const auto bomb = TarMaker{}.file("zeros", std::string(32 << 20, '\0')).finish();
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "bomb", tar(gzip(bomb))));
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "bomb", tar(zstd(bomb))));
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "bomb", tar(xz(bomb))));
    EXPECT_TRUE(succeeds(tar(bomb))) << "in place it costs its maker as much";
}

TEST_F(TarTest, HeadersCountTogether)
{
    const auto record = [](char name) {
        return std::pair<std::string, std::string>{cat("SCHILY.xattr.user.", std::string(1, name)),
                                                   std::string(400, 'v')};
    };
    context.limits.header_bytes = 4096;
    TarMaker own, global, names, spread;
    for (char c = 'a'; c < 'm'; ++c) {
        own.pax({record(c)});
        global.pax({record(c)}, 'g');
        names.add({.path = "n", .type = c % 2 == 0 ? 'L' : 'K', .content = std::string(400, c)});
        spread.pax({record(c)}).file(std::string(1, c), "");
    }
    for (TarMaker* const maker : {&own, &global, &names}) {
        EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "extended headers", tar(maker->file("f", "").finish())));
    }
    EXPECT_TRUE(succeeds(tar(spread.finish()))) << "each entry has headers of its own";
    TarMaker many;
    context.limits.header_bytes = 1U << 20;
    for (int i = 0; i < 1025; ++i)
        many.pax({{cat("K", i), "v"}}, 'g');
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "global records", tar(many.file("f", "").finish())));
}

TEST_F(TarTest, GlobalRecordsGiveWay)
{
    TarMaker maker;
    maker.pax({{"uid", "7"}, {"SCHILY.xattr.user.a", "global"}, {"SCHILY.xattr.user.b", "global"}}, 'g');
    maker.pax({{"uid", ""}, {"SCHILY.xattr.user.a", "own"}}).file("one", "").file("two", "");
    const auto tree = value_of(tar(maker.finish())).tree;
    const auto one = tree.find_path("one").value(), two = tree.find_path("two").value();
    EXPECT_EQ(tree.attributes(one).uid, 0U);
    EXPECT_EQ(tree.attributes(two).uid, 7U);
    EXPECT_EQ(tree.xattrs(one), (std::vector<vdisk::Xattr>{{"user.a", "own"}, {"user.b", "global"}}));
    EXPECT_EQ(tree.xattrs(two), (std::vector<vdisk::Xattr>{{"user.a", "global"}, {"user.b", "global"}}));
}

TEST_F(TarTest, WhatNeedsMuchMemoryIsRefused)
{
    const auto bytes = sample().finish();
    expect_sample(value_of(tar(xz(bytes, 64U << 20))).tree);
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "128 MiB", tar(xz(bytes, 192U << 20))));
    // A frame that wants a window of 256 MiB: RFC 8878, "Window_Descriptor"
    EXPECT_TRUE(
        fails_as(ErrorKind::Unavailable, "128 MiB", tar(std::string{"\x28\xb5\x2f\xfd\x00\x90\x01\x00\x00", 9})));
}

TEST_F(TarTest, MapsOfSparseFilesHaveLimits)
{
    std::string map = "1048577\n";
    map.resize(512);
    TarMaker maker;
    maker.pax({{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.realsize", "1"}});
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "too many holes", tar(maker.file("s", map).finish())));
}

TEST_F(TarTest, ZerosFillNoDisk)
{
    std::string content(24U << 20, '\0');
    content.replace(5'000'000, 4, "five");
    content.replace(content.size() - 3, 3, "end");
    TarMaker maker;
    maker.file("odd", "odd").file("zeros", content).file("after", "after").file("last", std::string(10'000, '\0'));
    const auto imported = value_of(tar(gzip(maker.finish())));
    EXPECT_EQ(content_of(imported.tree, "zeros"), content);
    EXPECT_EQ(content_of(imported.tree, "odd") + content_of(imported.tree, "after"), "oddafter");
    EXPECT_EQ(content_of(imported.tree, "last"), std::string(10'000, '\0'));
    EXPECT_LT(spool_bytes(), 1U << 20);
}

TEST_F(TarTest, AStopRequestIsHeard)
{
    std::stop_source stop;
    stop.request_stop();
    context.stop = stop.get_token();
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "stopped", tar(sample().finish())));
}

} // namespace
} // namespace coppice::imports
