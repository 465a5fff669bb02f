#include "../../../src/import/tar_reader.h"
#include "support.h"
#include "tar_writer.h"

#include <gtest/gtest.h>

namespace coppice::exports {
namespace {

using namespace coppice::exports::test;

/// As getxattr(2) gives it: tags, rights and ids.
std::string acl(const std::vector<std::array<std::uint32_t, 3>>& entries)
{
    std::string bytes{"\2\0\0\0", 4};
    for (const auto& [tag, rights, id] : entries) {
        bytes += {static_cast<char>(tag), 0, static_cast<char>(rights), 0};
        for (int i = 0; i < 4; ++i)
            bytes += static_cast<char>(id >> (8 * i) & 0xFFU);
    }
    return bytes;
}
constexpr std::uint32_t kNobody = 0xFFFFFFFF;

/// Everything that an archive has to say in a special way.
TestTree tree_of_everything()
{
    TestTree t;
    t.directory("etc");
    t.file("etc/motd", "hello\n");
    value_of(t.tree.link(*t.tree.find_path("etc"), "same", *t.tree.find_path("etc/motd")));
    t.file("etc/empty", "", 04711);
    t.link("etc/link", "../etc/motd");
    t.link("etc/long link", std::string(300, 'l') + "/\n=");
    const std::string deep = cat("etc/", std::string(120, 'd'));
    t.directory(deep);
    t.file(cat(deep, "/", std::string(200, 'n')), "deep");
    t.file("etc/line\nbreak \xFF", "odd");
    t.file("etc/whole block", std::string(512, 'b'));
    t.add("null", S_IFCHR | 0666, {.major = 1, .minor = 3});
    t.add("disk", S_IFBLK | 0660, {.major = 4095, .minor = 1'048'575});
    t.add("fifo", S_IFIFO | 0600);
    t.add("socket", S_IFSOCK | 0600);
    const auto owned = t.file("owned", "x");
    value_of(t.tree.set_attributes(
        owned, {.mode = S_IFREG | 0600, .uid = 4'000'000'000, .gid = 2'097'152, .mtime = {-2, 250'000'000}}));
    const auto old = t.file("old", "x");
    value_of(t.tree.set_attributes(old, {.mode = S_IFREG | 01600, .uid = 1, .gid = 1, .mtime = {-5, 0}}));
    const auto far = t.file("far", "x");
    value_of(t.tree.set_attributes(far, {.mode = S_IFREG | 0600, .mtime = {9'000'000'000, 1}}));
    value_of(t.tree.set_xattrs(
        far,
        {{"user.a=b%3D", std::string{"v\n\0=", 4}},
         {"user.empty", ""},
         {"security.capability", std::string(20, '\1')},
         {"system.posix_acl_access",
          acl({{1, 6, kNobody}, {2, 4, 7}, {2, 7, 1000}, {4, 4, kNobody}, {0x10, 7, kNobody}, {0x20, 0, kNobody}})}}));
    // None that the kernel would have made: in the wrong order.
    value_of(
        t.tree.set_xattrs(old, {{"system.posix_acl_access",
                                 acl({{4, 4, kNobody}, {1, 6, kNobody}, {0x10, 7, kNobody}, {0x20, 0, kNobody}})}}));
    value_of(
        t.tree.set_xattrs(*t.tree.find_path("etc"),
                          {{"system.posix_acl_default", acl({{1, 7, kNobody}, {4, 5, kNobody}, {0x20, 0, kNobody}})}}));
    t.tree.sort();
    return t;
}

class TarExportTest : public testing::Test, protected ImportFixture {
protected:
    std::string written(const vdisk::Tree& tree, const TarOptions& options = {})
    {
        TextSink out;
        value_of(write_tar(tree, options, out, context));
        return std::move(out.text);
    }
};

TEST_F(TarExportTest, WhatIsWrittenIsReadBack)
{
    auto t = tree_of_everything();
    auto wanted = describe(t.tree);
    EXPECT_EQ(wanted.erase("/socket"), 1U) << "archives have none";
    for (const auto form : {TarOptions::Form::Archive, TarOptions::Form::Layer}) {
        auto again = value_of(tar(written(t.tree, {.form = form})));
        EXPECT_EQ(describe(again.tree), wanted);
        EXPECT_EQ(again.tree.find_path("etc/motd"), again.tree.find_path("etc/same"));
    }
    EXPECT_EQ(written(t.tree), written(t.tree));
    EXPECT_EQ(written(t.tree).size() % 512, 0U);
}

TEST_F(TarExportTest, EnginesGetAclsAsAttributes)
{
    auto t = tree_of_everything();
    const auto archive = written(t.tree), layer = written(t.tree, {.form = TarOptions::Form::Layer});
    for (const auto* const kind : {"access", "default"}) {
        EXPECT_NE(archive.find(cat("SCHILY.acl.", kind)), std::string::npos);
        EXPECT_EQ(layer.find(cat("SCHILY.acl.", kind)), std::string::npos);
        EXPECT_NE(layer.find(cat("SCHILY.xattr.system.posix_acl_", kind)), std::string::npos);
    }
}

TEST_F(TarExportTest, APartHasNamesOfItsOwn)
{
    TestTree t;
    t.directory("usr");
    t.directory("usr/share");
    t.file("usr/share/doc", "d");
    value_of(t.tree.link(*t.tree.find_path("usr"), "aside", *t.tree.find_path("usr/share/doc")));
    t.tree.sort();
    auto part = value_of(tar(written(t.tree, {.path = "/usr/share/"})));
    EXPECT_EQ(content_of(part.tree, "share/doc"), "d") << "the first name of the part, not a link to one outside";
    EXPECT_EQ(part.tree.entries(vdisk::Tree::root()).size(), 1U);
    auto file = value_of(tar(written(t.tree, {.path = "usr/aside"})));
    EXPECT_EQ(content_of(file.tree, "aside"), "d");
    TextSink out;
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "usr/none", write_tar(t.tree, {.path = "usr/none"}, out, context)));
}

TEST_F(TarExportTest, HolesStayHolesAndLayersHaveNone)
{
    const std::uint64_t bytes = 40 << 20;
    const auto file = value_of(os::open_at(directory.fd(), "holes", O_RDWR | O_CREAT, 0600));
    ASSERT_EQ(::ftruncate(file.get(), static_cast<off_t>(bytes)), 0);
    ASSERT_EQ(::pwrite(file.get(), "one", 3, 5 << 20), 3);
    ASSERT_EQ(::pwrite(file.get(), "two", 3, (20 << 20) + 100), 3);
    TestTree t;
    const auto source =
        std::make_shared<vdisk::RangeSource>(value_of(file.duplicate()), "holes", vdisk::RangeSource::Holes::Some);
    t.tree.set_content(t.add("holes", S_IFREG | 0600), source, 0, bytes);
    t.tree.sort();
    const auto wanted = content_of(t.tree, "holes");
    const auto sparse = written(t.tree);
    EXPECT_LT(sparse.size(), 300'000U);
    auto again = value_of(tar(sparse));
    EXPECT_EQ(content_of(again.tree, "holes"), wanted);
    const auto plain = written(t.tree, {.form = TarOptions::Form::Layer});
    EXPECT_GT(plain.size(), bytes);
    EXPECT_EQ(content_of(value_of(tar(plain)).tree, "holes"), wanted);
}

TEST_F(TarExportTest, AnImageHoldsNoNamesThatAreWhiteouts)
{
    TestTree t;
    t.file(".wh.a", "");
    t.tree.sort();
    TextSink out;
    EXPECT_TRUE(
        fails_as(ErrorKind::Unsupported, ".wh.a", write_tar(t.tree, {.form = TarOptions::Form::Layer}, out, context)));
    EXPECT_TRUE(out.text.empty());
    EXPECT_TRUE(succeeds(write_tar(t.tree, {}, out, context)));
}

TEST_F(TarExportTest, FilesBeyondWhatUstarCanSay)
{
    TextSink out;
    TarWriter writer{out};
    const std::uint64_t bytes = 9ULL << 30;
    value_of(writer.add({.path = "big", .attributes = {.mode = S_IFREG | 0600}, .size = bytes}));
    directory.write("a", out.text);
    imports::FileStream stream{value_of(os::open_at(directory.fd(), "a", O_RDONLY)), "a", {}};
    imports::TarReader reader{stream, context.limits, imports::TarReader::End::Any};
    const auto entry = value_of(reader.next());
    ASSERT_TRUE(entry.has_value());
    EXPECT_EQ(entry->size, bytes);
    EXPECT_EQ(entry->path, "big");
}

TEST_F(TarExportTest, AStopEndsIt)
{
    TestTree t;
    t.file("a", "a");
    t.tree.sort();
    std::stop_source stop;
    stop.request_stop();
    context.stop = stop.get_token();
    TextSink out;
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "stopped", write_tar(t.tree, {}, out, context)));
}

} // namespace
} // namespace coppice::exports
