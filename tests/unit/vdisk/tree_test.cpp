#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/test/temp_dir.h"
#include "layer_fixture.h"

#include <gtest/gtest.h>

namespace coppice::vdisk {
namespace {

using namespace coppice::vdisk::test;
using coppice::test::fails_as;
using coppice::test::succeeds;

TEST(TreeTest, ImpossibleNamesAreRefused)
{
    Tree tree;
    const auto file = value_of(tree.add({.mode = S_IFREG | 0644}));
    for (const std::string& name : {std::string{}, std::string{"."}, std::string{".."}, std::string{"a/b"},
                                    std::string{"/"}, std::string{"a\0b", 3}, std::string(256, 'n')})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "name", tree.link(Tree::root(), name, file))) << name;
    EXPECT_TRUE(succeeds(tree.link(Tree::root(), std::string(255, 'n'), file)));
    EXPECT_TRUE(succeeds(tree.link(Tree::root(), "...", file)));
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "twice", tree.link(Tree::root(), "...", file)));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "into a file", tree.link(file, "x", file)));
}

TEST(TreeTest, ADirectoryHasOneName)
{
    Tree tree;
    const auto a = value_of(tree.add({.mode = S_IFDIR | 0755})), b = value_of(tree.add({.mode = S_IFDIR | 0755}));
    EXPECT_TRUE(succeeds(tree.link(Tree::root(), "a", a)));
    EXPECT_TRUE(succeeds(tree.link(a, "b", b)));
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "another name", tree.link(b, "a", a)));
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "another name", tree.link(b, "root", Tree::root())));
    EXPECT_TRUE(tree.unlink(a, "b"));
    EXPECT_TRUE(succeeds(tree.link(Tree::root(), "moved", b)));
    EXPECT_EQ(tree.parent(b), Tree::root());
}

TEST(TreeTest, ImpossibleAttributesAreRefused)
{
    Tree tree;
    for (const Attributes& wrong :
         {Attributes{.mode = 0644}, Attributes{.mode = S_IFREG | 0200000},
          Attributes{.mode = S_IFREG, .uid = UINT32_MAX}, Attributes{.mode = S_IFREG, .gid = UINT32_MAX},
          Attributes{.mode = S_IFREG, .mtime = {.nanoseconds = 1'000'000'000}}})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "", tree.add(wrong)));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "4096:0", tree.add({.mode = S_IFCHR}, {.major = 4096})));
    EXPECT_TRUE(
        fails_as(ErrorKind::Invalid, "1:1048576", tree.add({.mode = S_IFBLK}, {.major = 1, .minor = 1U << 20U})));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "type", tree.set_attributes(Tree::root(), {.mode = S_IFREG})));
}

TEST(TreeTest, LinkTargetsHaveBounds)
{
    Tree tree;
    const auto link = value_of(tree.add({.mode = S_IFLNK | 0777}));
    for (const std::string& target : {std::string{}, std::string(4096, 'x'), std::string{"a\0b", 3}})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "target", tree.set_target(link, target)));
    EXPECT_TRUE(succeeds(tree.set_target(link, std::string(4095, 'x'))));
}

TEST(TreeTest, WhiteoutsHaveOneForm)
{
    Tree tree;
    const auto whiteout = value_of(tree.add({.mode = S_IFCHR | 0600, .uid = 5, .mtime = {.seconds = 7}}));
    EXPECT_TRUE(tree.is_whiteout(whiteout));
    EXPECT_EQ(tree.attributes(whiteout), Attributes{.mode = S_IFCHR});
    EXPECT_TRUE(succeeds(tree.link(Tree::root(), "a", whiteout)));
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "one only", tree.link(Tree::root(), "b", whiteout)));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "whiteout", tree.set_attributes(whiteout, {.mode = S_IFCHR | 0600})));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "whiteout", tree.set_xattrs(whiteout, {{"user.a", "b"}})));
}

TEST(TreeTest, TrustedAttributesAreRefused)
{
    Tree tree;
    const auto file = value_of(tree.add({.mode = S_IFREG | 0644}));
    for (const char* const name : {"trusted.overlay.redirect", "trusted.overlay.metacopy", "trusted.x"})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, name, tree.set_xattrs(Tree::root(), {{name, "y"}})));
    EXPECT_TRUE(
        fails_as(ErrorKind::Invalid, "opaque", tree.set_xattrs(Tree::root(), {{"trusted.overlay.opaque", "x"}})));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "opaque", tree.set_xattrs(file, {{"trusted.overlay.opaque", "y"}})));
    EXPECT_TRUE(succeeds(tree.set_xattrs(Tree::root(), {{"trusted.overlay.opaque", "y"}})));
}

TEST(TreeTest, FindsByPathAndTellsPaths)
{
    TestTree t;
    t.directory("a");
    t.directory("a/b");
    const auto file = t.file("a/b/c", "x");
    EXPECT_EQ(t.tree.find_path("/a//b/c"), file);
    EXPECT_EQ(t.tree.find_path(""), Tree::root());
    EXPECT_FALSE(t.tree.find_path("a/c"));
    EXPECT_FALSE(t.tree.find_path("a/b/c/d"));
    EXPECT_EQ(t.tree.path_of(file), "/a/b/c");
}

TEST(TreeTest, ManyNamesComeAndGo)
{
    Tree tree;
    for (int round = 0; round < 3; ++round) {
        for (int i = 0; i < 20000; ++i)
            ASSERT_TRUE(succeeds(tree.link(Tree::root(), cat(i), value_of(tree.add({.mode = S_IFREG})))));
        for (int i = 0; i < 20000; ++i)
            ASSERT_EQ(tree.unlink(Tree::root(), cat(i)), true);
        EXPECT_FALSE(tree.unlink(Tree::root(), "0"));
    }
    ASSERT_TRUE(succeeds(tree.link(Tree::root(), "b", value_of(tree.add({.mode = S_IFREG})))));
    ASSERT_TRUE(succeeds(tree.link(Tree::root(), "a", value_of(tree.add({.mode = S_IFREG})))));
    tree.sort();
    const auto all = tree.entries(Tree::root());
    ASSERT_EQ(all.size(), 2U);
    EXPECT_EQ(all[0].name, "a");
    EXPECT_EQ(all[1].name, "b");
}

TEST(RangeSourceTest, ReadsItsPartOfAFile)
{
    const coppice::test::TempDir directory;
    directory.write("spool", "0123456789");
    const RangeSource source{value_of(os::open_at(directory.fd(), "spool", O_RDONLY)), "spool"};
    const auto content = value_of(source.open(3, 5));
    std::string bytes(2, '\0');
    EXPECT_TRUE(succeeds(content->read(1, bytes)));
    EXPECT_EQ(bytes, "45");
    EXPECT_TRUE(succeeds(source.open(10, 0)));
    for (const auto& [key, size] :
         {std::pair<std::uint64_t, std::uint64_t>{3, 8}, {11, 0}, {UINT64_MAX, 2}, {2, UINT64_MAX}})
        EXPECT_TRUE(fails_as(ErrorKind::Conflict, "spool is cut short", source.open(key, size)));
    directory.write("spool", "0123");
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "shorter", content->read(0, bytes)));
}

TEST(XattrTest, OneFormWhateverTheOrder)
{
    const std::vector<Xattr> one{{"user.b", "1"}, {"user.a", "2"}, {"system.posix_acl_access", "acl"}};
    const std::vector<Xattr> other{one[2], one[1], one[0]};
    const auto encoded = value_of(encode_xattrs(one));
    EXPECT_EQ(encoded, value_of(encode_xattrs(other)));
    EXPECT_EQ(value_of(decode_xattrs(encoded)), other);
}

TEST(XattrTest, WhatALayerCannotHold)
{
    for (const char* const name :
         {"user.", "user", "system.nfs4_acl", "system.posix_acl_accessx", "btrfs.compression", ""})
        EXPECT_TRUE(fails_as(ErrorKind::Unsupported, name, encode_xattrs({{name, "v"}})));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "twice", encode_xattrs({{"user.a", "1"}, {"user.a", "2"}})));
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "65535", encode_xattrs({{"user.a", std::string(65536, 'v')}})));
    EXPECT_TRUE(succeeds(encode_xattrs({{"user.a", std::string(65535, 'v')}})));
    std::vector<Xattr> many;
    for (int i = 0; i < 4; ++i)
        many.push_back({cat("user.", i), std::string(65535, 'v')});
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "262136", encode_xattrs(many)));
}

TEST(XattrTest, DamagedOnesAreRefused)
{
    const auto encoded = value_of(encode_xattrs({{"user.ab", "xyz"}, {"user.c", "1"}}));
    for (std::size_t cut = 1; cut < encoded.size(); ++cut) {
        if (cut == 12) continue; // one whole attribute
        EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "attributes", decode_xattrs(encoded.substr(0, cut)))) << cut;
    }
    std::string wrong = encoded;
    wrong[1] = 5; // lustre
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "attributes", decode_xattrs(wrong)));
    wrong = encoded;
    wrong[11] = 'x'; // padding
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "attributes", decode_xattrs(encoded.substr(12) + encoded.substr(0, 12))));
}

} // namespace
} // namespace coppice::vdisk
