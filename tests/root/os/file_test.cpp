// Needs: root for mounts (some tests); the others run for anybody.

#include "coppice/os/file.h"

#include "coppice/os/mount.h"
#include "coppice/test/expect.h"
#include "coppice/test/needs.h"
#include "coppice/test/temp_dir.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <map>
#include <sys/inotify.h>
#include <thread>
#include <unistd.h>

namespace coppice::os {
namespace {

namespace fs = std::filesystem;
using test::fails_as;
using test::succeeds;
using test::value_of;

/// An untrusted tree `root` beside `outside`, which nobody may reach from it.
class RootTest : public testing::Test {
protected:
    RootTest()
    {
        directory_.make_directory("root/etc");
        directory_.write("root/etc/passwd", "inside");
        directory_.write("outside/secret", "outside");
        root_ = value_of(open_at(kCwd, directory_ / "root", O_PATH | O_DIRECTORY));
    }
    void link(const std::string& target, const std::string& name) const
    {
        fs::create_symlink(target, directory_ / ("root/" + name));
    }
    std::string content(const std::string& path) const
    {
        return value_of(read_all(value_of(open_in_root(root_.get(), path, O_RDONLY)), 100, path));
    }
    bool outside_is_untouched() const
    {
        return std::distance(fs::directory_iterator{directory_ / "outside"}, {}) == 1 &&
               directory_.read("outside/secret") == "outside";
    }
    test::TempDir directory_;
    Fd root_;
};

TEST_F(RootTest, LinksAndParentsStayInside)
{
    link("/etc/passwd", "absolute");
    link("../../../../../../etc/passwd", "upwards");
    link("/", "etc/top");
    EXPECT_EQ(content("absolute"), "inside");
    EXPECT_EQ(content("upwards"), "inside");
    EXPECT_EQ(content("/etc/passwd"), "inside");
    EXPECT_EQ(content("../../etc/passwd"), "inside");
    EXPECT_EQ(content("etc/top/../etc/top/etc/passwd"), "inside");
    link("../outside/secret", "escape");
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "escape", open_in_root(root_.get(), "escape", O_RDONLY)));
    link(directory_ / "outside/secret", "absolute_escape");
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "", open_in_root(root_.get(), "absolute_escape", O_RDONLY)));
}

TEST_F(RootTest, NoLinksMeansNone)
{
    link("passwd", "etc/alias");
    link("etc", "dir");
    EXPECT_FALSE(open_in_root(root_.get(), "etc/alias", O_RDONLY, 0, false));
    EXPECT_FALSE(open_in_root(root_.get(), "dir/passwd", O_RDONLY, 0, false));
    EXPECT_TRUE(succeeds(open_in_root(root_.get(), "etc/passwd", O_RDONLY, 0, false)));
}

TEST_F(RootTest, MagicLinksAreRefused)
{
    const auto top = value_of(open_at(kCwd, "/", O_PATH));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "", open_in_root(top.get(), "proc/self/exe", O_RDONLY)));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "", open_in_root(top.get(), "proc/self/cwd/x", O_RDONLY)));
    EXPECT_TRUE(succeeds(open_in_root(top.get(), "proc/self/status", O_RDONLY))) << "a plain link of procfs";
}

TEST_F(RootTest, MakesDirectoriesAndFiles)
{
    ASSERT_TRUE(succeeds(make_in_root(root_.get(), "/a//b/./c", PathKind::Directory)));
    EXPECT_TRUE(fs::is_directory(directory_ / "root/a/b/c"));
    ASSERT_TRUE(succeeds(make_in_root(root_.get(), "x/y/file", PathKind::File)));
    EXPECT_TRUE(fs::is_regular_file(directory_ / "root/x/y/file"));
    EXPECT_EQ(fs::file_size(directory_ / "root/x/y/file"), 0U);
    ASSERT_TRUE(succeeds(make_in_root(root_.get(), "etc/passwd", PathKind::File)));
    EXPECT_EQ(content("etc/passwd"), "inside") << "what exists is left as it is";
}

TEST_F(RootTest, RefusesTheOtherKind)
{
    EXPECT_TRUE(
        fails_as(ErrorKind::Conflict, "not a directory", make_in_root(root_.get(), "etc/passwd", PathKind::Directory)));
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "is a directory", make_in_root(root_.get(), "etc", PathKind::File)));
}

TEST_F(RootTest, MakesNothingOutside)
{
    link("../outside", "up");
    link(directory_ / "outside", "absolute");
    link("../outside/new", "dangling");
    for (const char* const path :
         {"up/x", "absolute/x", "dangling", "../outside/x", "up/../../outside/x", "etc/../../outside/x"})
        for (const auto kind : {PathKind::Directory, PathKind::File})
            (void)make_in_root(root_.get(), path, kind).has_value(); // some are made inside the root, some refused
    EXPECT_TRUE(outside_is_untouched());
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "goes up", make_in_root(root_.get(), "missing/../x", PathKind::File)));
    EXPECT_FALSE(directory_.exists("root/missing/../x"));
}

TEST_F(RootTest, ADanglingLinkIsNotCreatedThrough)
{
    link("elsewhere", "dangling");
    // What comes back is the link itself, to mount over (an image's /etc/resolv.conf is often such a link).
    const auto found = value_of(make_in_root(root_.get(), "dangling", PathKind::File));
    struct stat status{};
    ASSERT_EQ(::fstat(found.get(), &status), 0);
    EXPECT_TRUE(S_ISLNK(status.st_mode));
    EXPECT_FALSE(make_in_root(root_.get(), "dangling/below", PathKind::File));
    EXPECT_FALSE(directory_.exists("root/elsewhere"));
}

TEST_F(RootTest, NothingIsMadeOutsideWhileLinksAreSwapped) // CVE-2021-30465, CVE-2024-45310
{
    directory_.make_directory("root/dir");
    link("../outside", "link");
    std::atomic<bool> done = false;
    std::atomic<int> swaps = 0;
    std::thread attacker{[&] {
        while (swaps < 2000 || !done) {
            ::renameat2(root_.get(), "dir", root_.get(), "link", RENAME_EXCHANGE);
            ++swaps;
        }
    }};
    int made = 0;
    for (int i = 0; i < 500 || swaps < 2000; ++i) {
        const std::string path = "dir/n" + std::to_string(i % 500) + "/file";
        if (make_in_root(root_.get(), path, PathKind::File)) ++made;
        if (!outside_is_untouched()) break;
    }
    done = true;
    attacker.join();
    EXPECT_GE(swaps, 2000);
    EXPECT_GT(made, 0) << "the race was never won by the defender: the test shows nothing";
    EXPECT_TRUE(outside_is_untouched());
}

TEST_F(RootTest, AComponentSwappedBehindItsCreationIsRefused)
{
    // The new entry itself becomes a link between its creation and its opening.
    std::atomic<bool> done = false;
    std::thread attacker{[&] {
        while (!done) {
            if (::renameat(root_.get(), "new", root_.get(), "moved") == 0) {
                [[maybe_unused]] const int linked = ::symlinkat("../outside", root_.get(), "new");
                ::unlinkat(root_.get(), "new", 0);
                ::unlinkat(root_.get(), "moved/x", 0);
                ::unlinkat(root_.get(), "moved", AT_REMOVEDIR);
            }
        }
    }};
    for (int i = 0; i < 2000 && outside_is_untouched(); ++i)
        (void)make_in_root(root_.get(), "new/x", PathKind::File).has_value();
    done = true;
    attacker.join();
    EXPECT_TRUE(outside_is_untouched());
}

TEST_F(RootTest, RemoveTreeFollowsNoLink)
{
    directory_.make_directory("root/tree/deep/deeper");
    directory_.write("root/tree/deep/file", "x");
    fs::create_symlink("../../outside", directory_ / "root/tree/link");
    fs::create_symlink(directory_ / "outside", directory_ / "root/tree/deep/link");
    EXPECT_TRUE(succeeds(remove_tree(root_.get(), "tree")));
    EXPECT_FALSE(directory_.exists("root/tree"));
    link("../outside", "top");
    EXPECT_TRUE(succeeds(remove_tree(root_.get(), "top")));
    EXPECT_FALSE(directory_.exists("root/top"));
    EXPECT_TRUE(outside_is_untouched());
    EXPECT_TRUE(succeeds(remove_tree(root_.get(), "never/was")));
}

TEST_F(RootTest, RemoveTreeTakesWhatModesForbid)
{
    COPPICE_NEEDS(Root);
    directory_.write("root/tree/closed/file", "x");
    fs::permissions(directory_ / "root/tree/closed", fs::perms::none);
    EXPECT_TRUE(succeeds(remove_tree(root_.get(), "tree")));
}

TEST_F(RootTest, RemoveTreeIsNotExhaustedByDepth)
{
    // Deeper than there are descriptors, and than a path can be long: made by relative steps.
    auto current = value_of(open_at(root_.get(), ".", O_RDONLY | O_DIRECTORY));
    ASSERT_EQ(::mkdirat(current.get(), "tree", 0700), 0);
    current = value_of(open_at(current.get(), "tree", O_RDONLY | O_DIRECTORY));
    const std::string name(200, 'd');
    for (int i = 0; i < 3000; ++i) {
        ASSERT_EQ(::mkdirat(current.get(), name.c_str(), 0700), 0);
        current = value_of(open_at(current.get(), name, O_RDONLY | O_DIRECTORY));
    }
    current.reset();
    EXPECT_TRUE(succeeds(remove_tree(root_.get(), "tree")));
    EXPECT_FALSE(directory_.exists("root/tree"));
    EXPECT_EQ(std::distance(fs::directory_iterator{directory_ / "root"}, {}), 1) << "only etc is left";
}

TEST_F(RootTest, RemoveTreeStopsAtAnotherFileSystem)
{
    COPPICE_NEEDS(Root);
    directory_.make_directory("root/tree/mnt");
    const auto tmpfs = value_of(new_file_system("tmpfs", {}, 0));
    ASSERT_TRUE(succeeds(attach_mount(tmpfs.get(), kCwd, directory_ / "root/tree/mnt")));
    directory_.write("root/tree/mnt/keep", "precious");
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "tree/mnt", remove_tree(root_.get(), "tree")));
    EXPECT_EQ(directory_.read("root/tree/mnt/keep"), "precious");
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "", remove_tree(root_.get(), "tree/mnt")))
        << "nor is a mount itself emptied";
    EXPECT_EQ(directory_.read("root/tree/mnt/keep"), "precious");
}

TEST_F(RootTest, RemoveTreeStopsAtABindMountOfTheSameFileSystem)
{
    COPPICE_NEEDS(Root);
    directory_.make_directory("root/tree/mnt");
    const auto bind = value_of(clone_mount(kCwd, directory_ / "outside", false));
    ASSERT_TRUE(succeeds(attach_mount(bind.get(), kCwd, directory_ / "root/tree/mnt")));
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "tree/mnt", remove_tree(root_.get(), "tree")));
    EXPECT_TRUE(outside_is_untouched());
}

TEST(FileTest, ReplaceKeepsTheOldContentOnFailure)
{
    const test::TempDir directory;
    ASSERT_TRUE(succeeds(replace_file(directory.fd(), "f", "one")));
    ASSERT_TRUE(succeeds(replace_file(directory.fd(), "f", "two")));
    EXPECT_EQ(directory.read("f"), "two");
    directory.make_directory("d/inside");
    EXPECT_FALSE(replace_file(directory.fd(), "d", "x"));
    EXPECT_EQ(std::distance(fs::directory_iterator{directory.path()}, {}), 2) << "no temporary file is left";
}

TEST(FileTest, ReplacesWhatIsOnlyForNow)
{
    const test::TempDir directory;
    ASSERT_TRUE(succeeds(replace_passing_file(directory.fd(), "f", "one")));
    EXPECT_EQ(directory.read("f"), "one");
    // The old file is to be unlinked by a name of its own: renaming over it makes ext4 write the new one out.
    const Fd watch{::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)};
    ASSERT_GE(::inotify_add_watch(watch.get(), directory.path().c_str(), IN_MOVED_FROM | IN_DELETE), 0);
    ASSERT_TRUE(succeeds(replace_passing_file(directory.fd(), "f", "two")));
    EXPECT_EQ(directory.read("f"), "two");
    std::map<std::uint32_t, std::vector<std::string>> seen;
    alignas(inotify_event) std::array<char, 4096> events{};
    const auto got = ::read(watch.get(), events.data(), events.size());
    for (std::size_t at = 0; got > 0 && at < static_cast<std::size_t>(got);) {
        const auto& event = *reinterpret_cast<const inotify_event*>(events.data() + at);
        seen[event.mask].emplace_back(event.name);
        at += sizeof event + event.len;
    }
    ASSERT_EQ(seen[IN_MOVED_FROM].size(), 2U) << "both change places";
    EXPECT_TRUE(std::ranges::count(seen[IN_MOVED_FROM], "f"));
    ASSERT_EQ(seen[IN_DELETE].size(), 1U);
    EXPECT_TRUE(seen[IN_DELETE].front().starts_with("f.new-"));
    EXPECT_EQ(std::distance(fs::directory_iterator{directory.path()}, {}), 1) << "no temporary file is left";
}

TEST(FileTest, ReadIsBounded)
{
    const test::TempDir directory;
    directory.write("f", std::string(100, 'x'));
    EXPECT_EQ(value_of(read_file(directory.fd(), "f", 100)).size(), 100U);
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "larger than 99 bytes", read_file(directory.fd(), "f", 99)));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "larger", read_file(kCwd, "/dev/zero", 10000)));
}

TEST(FileTest, MakeDirectories)
{
    const test::TempDir directory;
    EXPECT_TRUE(succeeds(make_directories(directory / "a/b/c", 0700)));
    EXPECT_TRUE(succeeds(make_directories(directory / "a/b/c", 0700)));
    directory.write("file", "");
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "not a directory", make_directories(directory / "file", 0700)));
    EXPECT_FALSE(make_directories(directory / "file/below", 0700));
}

} // namespace
} // namespace coppice::os
