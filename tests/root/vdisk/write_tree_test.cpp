// Needs: root, for owners and device nodes.

#include "coppice/vdisk/write_tree.h"

#include "coppice/os/file.h"
#include "coppice/test/temp_dir.h"
#include "coppice/vdisk/read_tree.h"
#include "layer_fixture.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <unistd.h>

namespace coppice::vdisk {
namespace {

namespace fs = std::filesystem;
using namespace coppice::vdisk::test;
using coppice::test::fails_as;
using coppice::test::read_text;
using coppice::test::succeeds;
using coppice::test::TempDir;
using coppice::test::value_of;
using coppice::test::write_text;

class WriteTreeTest : public ::testing::Test {
protected:
    WriteTreeTest()
    {
        t.directory("etc");
        t.file("etc/motd", "golden");
        t.file("etc/program", std::string(3'000'000, 'p'), 04755);
        value_of(t.tree.set_xattrs(*t.tree.find_path("etc/program"), {{"user.mark", "x"}}));
        t.link("etc/link", "motd");
        t.add("etc/null", S_IFCHR | 0666, {.major = 1, .minor = 3});
        t.add("etc/pipe", S_IFIFO | 0600);
        t.directory("etc/sub");
        t.file("etc/sub/empty", "");
        t.tree.sort();
    }
    [[nodiscard]] os::Fd root() const
    {
        return value_of(os::open_at(os::kCwd, directory_.path(), O_RDONLY | O_DIRECTORY));
    }

    TempDir directory_;
    TestTree t;
};

TEST_F(WriteTreeTest, WhatIsWrittenReadsAsTheSameTree)
{
    value_of(write_tree(t.tree, "", root().get()));
    ASSERT_EQ(::chown(directory_.path().c_str(), 0, 0), 0);
    auto read = value_of(read_tree(root()));
    auto got = describe(read), wanted = describe(t.tree);
    for (auto* const lines : {&got, &wanted}) // the root itself is not written
        lines->erase("");
    EXPECT_EQ(got, wanted);
}

TEST_F(WriteTreeTest, TakesThePlaceOfWhatIsThere)
{
    fs::create_directories(directory_ / "etc/motd/full");
    write_text(directory_ / "etc/sub", "a file");
    write_text(directory_ / "etc/own", "stays");
    value_of(write_tree(t.tree, "etc", root().get()));
    EXPECT_EQ(read_text(directory_ / "etc/motd"), "golden");
    EXPECT_TRUE(fs::is_directory(directory_ / "etc/sub"));
    EXPECT_EQ(read_text(directory_ / "etc/own"), "stays");
}

TEST_F(WriteTreeTest, SingleFilesBringTheirDirectories)
{
    value_of(write_tree(t.tree, "/etc/sub/empty", root().get()));
    EXPECT_TRUE(fs::exists(directory_ / "etc/sub/empty"));
    EXPECT_FALSE(fs::exists(directory_ / "etc/motd"));
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "etc/none", write_tree(t.tree, "etc/none", root().get())));
}

/// A branch's user may have put a link anywhere.
TEST_F(WriteTreeTest, NeverLeavesTheRoot)
{
    const TempDir outside;
    write_text(outside / "motd", "outside");
    fs::create_symlink(outside.path(), directory_ / "etc");
    EXPECT_FALSE(write_tree(t.tree, "etc/motd", root().get())) << "inside, the link leads nowhere";
    value_of(write_tree(t.tree, "etc", root().get())); // the link itself gives way
    EXPECT_EQ(read_text(outside / "motd"), "outside");
    EXPECT_TRUE(fs::is_directory(fs::symlink_status(directory_ / "etc")));

    fs::remove(directory_ / "etc/motd");
    fs::create_symlink(outside / "motd", directory_ / "etc/motd");
    value_of(write_tree(t.tree, "etc/motd", root().get()));
    EXPECT_EQ(read_text(outside / "motd"), "outside");
    EXPECT_EQ(read_text(directory_ / "etc/motd"), "golden");
}

TEST_F(WriteTreeTest, WhatFailsLeavesNothing)
{
    const auto file = *t.tree.find_path("etc/motd");
    t.tree.set_content(file, t.source, t.source->add("shorter than it says"), 1000);
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "", write_tree(t.tree, "etc/motd", root().get())));
    EXPECT_TRUE(fs::is_empty(directory_ / "etc"));
}

TEST_F(WriteTreeTest, EndsWhenItsWatchSaysSo)
{
    const auto write_until = [&](std::uint64_t most) {
        const TempDir to;
        const auto root = value_of(os::open_at(os::kCwd, to.path(), O_RDONLY | O_DIRECTORY));
        EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "enough",
                             write_tree(t.tree, "etc", root.get(), [&](std::uint64_t bytes) -> Result<> {
                                 if (bytes < most) return {};
                                 return fail(ErrorKind::Unavailable, "enough");
                             })));
        std::set<std::string> names;
        for (const auto& entry : fs::directory_iterator(to / "etc"))
            names.insert(entry.path().filename());
        return names;
    };
    // Of the file that it is at nothing stays.
    EXPECT_EQ(write_until(6), (std::set<std::string>{"link"}));
    EXPECT_EQ(write_until(1'000'000), (std::set<std::string>{"link", "motd", "null", "pipe"}));
}

} // namespace
} // namespace coppice::vdisk
