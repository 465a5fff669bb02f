// Needs: root, user namespaces, id-mapped mounts.

#include "coppice/os/id_map.h"

#include "coppice/os/file.h"
#include "coppice/os/mount.h"
#include "coppice/os/namespace.h"
#include "coppice/os/netlink.h"
#include "coppice/os/process.h"
#include "coppice/test/child.h"
#include "coppice/test/expect.h"
#include "coppice/test/needs.h"
#include "coppice/test/temp_dir.h"

#include <cerrno>
#include <net/if.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

namespace coppice::os {
namespace {

using test::fails_as;
using test::in_child;
using test::succeeds;
using test::value_of;

const UserMapping kMapping{.uids = {{0, 1'000'000, 1000}}, .gids = {{0, 2'000'000, 1000}}};

TEST(UserNamespaceTest, HasTheMappingAndNoProcess)
{
    COPPICE_NEEDS(Root, UserNamespaces);
    EXPECT_TRUE(in_child(0, [] {
        const auto ns = value_of(make_user_namespace(kMapping));
        EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a helper is left";
        EXPECT_EQ(errno, ECHILD);
        ASSERT_TRUE(succeeds(enter_namespace(ns, CLONE_NEWUSER)));
        EXPECT_EQ(test::read_text("/proc/self/uid_map"), "         0    1000000       1000\n");
        EXPECT_EQ(test::read_text("/proc/self/gid_map"), "         0    2000000       1000\n");
    }));
}

TEST(UserNamespaceTest, AMappingThatTheKernelRefusesIsAnError)
{
    COPPICE_NEEDS(Root, UserNamespaces);
    EXPECT_FALSE(make_user_namespace({.uids = {{0, 0, 10}, {5, 100, 10}}, .gids = {{0, 0, 1}}}));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "map group ids", make_user_namespace({.uids = {{0, 0, 1}}, .gids = {}})));
}

TEST(MountIdMapTest, FilesAppearWithMappedIdsAndAreStoredWithTheirOwn)
{
    COPPICE_NEEDS(Root, UserNamespaces, IdMappedMounts);
    const test::TempDir directory;
    directory.write("file", "x");
    ASSERT_EQ(::chown((directory / "file").c_str(), 7, 8), 0);
    ASSERT_EQ(::chmod(directory.path().c_str(), 0777), 0);
    const auto ns = value_of(make_user_namespace(kMapping));
    const auto mount = value_of(clone_mount(directory.fd(), "", false));
    ASSERT_TRUE(succeeds(map_mount_ids(mount.get(), ns.get(), false)));
    const auto shown = value_of(find_status(mount.get(), "file"));
    EXPECT_EQ(shown->st_uid, 1'000'007U);
    EXPECT_EQ(shown->st_gid, 2'000'008U);
    EXPECT_TRUE(in_child(0, [&] {
        ::setfsgid(2'000'003);
        ::setfsuid(1'000'005);
        EXPECT_TRUE(succeeds(open_at(mount.get(), "new", O_WRONLY | O_CREAT, 0600)));
        ::setfsuid(5); // an id that the mapping lacks
        EXPECT_FALSE(open_at(mount.get(), "other", O_WRONLY | O_CREAT, 0600));
    }));
    const auto stored = value_of(find_status(directory.fd(), "new"));
    ASSERT_TRUE(stored.has_value());
    EXPECT_EQ(stored->st_uid, 5U);
    EXPECT_EQ(stored->st_gid, 3U);
}

TEST(MountIdMapTest, FileSystemsWithoutItAreUnsupported)
{
    COPPICE_NEEDS(Root, UserNamespaces);
    const auto ns = value_of(make_user_namespace(kMapping));
    const auto proc = value_of(new_file_system("proc", {}, 0));
    EXPECT_TRUE(fails_as(ErrorKind::Unsupported, "mapped ids", map_mount_ids(proc.get(), ns.get(), false)));
}

TEST(MountTest, ADetachedMountGoesWithItsDescriptor)
{
    COPPICE_NEEDS(Root);
    const test::TempDir directory;
    const std::string before = test::read_text("/proc/self/mountinfo");
    {
        const auto tmpfs = value_of(new_file_system("tmpfs", {{"size", "64k"}}, mount_attr::kNoExec));
        EXPECT_EQ(value_of(file_system_magic(tmpfs.get())), kTmpfsMagic);
        EXPECT_EQ(test::read_text("/proc/self/mountinfo"), before);
        ASSERT_TRUE(succeeds(attach_mount(tmpfs.get(), directory.fd(), "")));
        EXPECT_NE(test::read_text("/proc/self/mountinfo").find(directory.path()), std::string::npos);
        ASSERT_TRUE(succeeds(detach_mount(tmpfs.get())));
    }
    EXPECT_EQ(test::read_text("/proc/self/mountinfo"), before);
}

TEST(MountTest, ErrorsCarryTheKernelsWords)
{
    COPPICE_NEEDS(Root);
    EXPECT_TRUE(fails_as(ErrorKind::Unsupported, "no-such-fs", new_file_system("no-such-fs", {}, 0)));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "the kernel says: tmpfs: Bad value for 'size'",
                         new_file_system("tmpfs", {{"size", "banana"}}, 0)));
}

TEST(MountTest, Attributes)
{
    COPPICE_NEEDS(Root);
    const test::TempDir directory;
    directory.write("file", "x");
    const auto copy = value_of(clone_mount(directory.fd(), "", false));
    ASSERT_TRUE(succeeds(set_mount_attributes(copy.get(), mount_attr::kReadOnly, 0, false)));
    EXPECT_TRUE(fails_as(ErrorKind::Denied, "file", open_at(copy.get(), "file", O_WRONLY)));
    EXPECT_TRUE(succeeds(open_at(directory.fd(), "file", O_WRONLY))) << "the original is as it was";
    ASSERT_TRUE(succeeds(set_mount_attributes(copy.get(), 0, mount_attr::kReadOnly, false)));
    EXPECT_TRUE(succeeds(open_at(copy.get(), "file", O_WRONLY)));
}

TEST(MountTest, ChangeRootLeavesNothingOfTheOldOne)
{
    COPPICE_NEEDS(Root);
    const test::TempDir directory;
    directory.write("inside", "x");
    EXPECT_TRUE(in_child(CLONE_NEWNS, [&] {
        const auto root = value_of(clone_mount(kCwd, directory.path(), false));
        ASSERT_TRUE(succeeds(attach_mount(root.get(), kCwd, directory.path())));
        ASSERT_TRUE(succeeds(change_root(root.get())));
        EXPECT_TRUE(exists(kCwd, "/inside"));
        EXPECT_TRUE(exists(kCwd, "/../../inside"));
        EXPECT_TRUE(exists(kCwd, "inside")) << "the working directory is the root";
        EXPECT_FALSE(exists(kCwd, "/proc/self"));
        EXPECT_FALSE(exists(kCwd, "/etc"));
    }));
}

TEST(NamespaceTest, OfAnotherKindIsRefused)
{
    const auto* const net = find_namespace_kind("network");
    EXPECT_TRUE(succeeds(open_namespace(*net, "/proc/self/ns/net")));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "is not a network namespace", open_namespace(*net, "/proc/self/ns/ipc")));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "is not a network namespace", open_namespace(*net, "/dev/null")));
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "", open_namespace(*net, "/no/such/file")));
}

TEST(NamespaceTest, Differing)
{
    COPPICE_NEEDS(Root);
    const auto child = value_of(fork_process({.flags = CLONE_NEWNET | CLONE_NEWUTS}, [] {
        ::pause();
        return 0;
    }));
    EXPECT_EQ(value_of(differing_namespaces(child.pid())), static_cast<std::uint64_t>(CLONE_NEWNET | CLONE_NEWUTS));
    EXPECT_EQ(value_of(differing_namespaces(::getpid())), 0U);
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "has gone", differing_namespaces(0x7fffffff)));
}

short flags_of_loopback()
{
    const Fd socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    ifreq request{};
    request.ifr_name[0] = 'l';
    request.ifr_name[1] = 'o';
    return ::ioctl(socket.get(), SIOCGIFFLAGS, &request) < 0 ? static_cast<short>(-1) : request.ifr_flags;
}

TEST(NetlinkTest, SwitchesTheLoopbackOn)
{
    COPPICE_NEEDS(Root);
    EXPECT_TRUE(in_child(CLONE_NEWNET, [] {
        ASSERT_EQ(flags_of_loopback() & IFF_UP, 0);
        auto route = value_of(RouteSocket::open());
        EXPECT_TRUE(succeeds(route.set_link_up(kLoopbackIndex)));
        EXPECT_EQ(flags_of_loopback() & IFF_UP, IFF_UP);
        EXPECT_TRUE(fails_as(ErrorKind::NotFound, "network interface", route.set_link_up(9999)));
        EXPECT_TRUE(succeeds(route.set_link_up(kLoopbackIndex))) << "twice is fine";
    }));
}

} // namespace
} // namespace coppice::os
