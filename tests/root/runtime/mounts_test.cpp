// Needs: root. What init does to a root file system, in the test program's own mount namespace.

#include "mounts.h"

#include "coppice/os/file.h"
#include "coppice/os/mount.h"
#include "coppice/test/child.h"
#include "coppice/test/expect.h"
#include "coppice/test/needs.h"
#include "coppice/test/temp_dir.h"
#include "sysctl.h"

#include <filesystem>
#include <sched.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace coppice::runtime {
namespace {

namespace fs = std::filesystem;
using test::fails_as;
using test::in_child;
using test::succeeds;
using test::value_of;

/// The root of the calling process.
os::Fd root_now() { return value_of(os::open_at(os::kCwd, "/", O_PATH | O_DIRECTORY)); }

class MountsTest : public testing::Test {
protected:
    void SetUp() override
    {
        COPPICE_NEEDS(Root);
        directory_.make_directory("root/proc");
        directory_.make_directory("root/mnt");
        directory_.write("outside/canary", "host");
        directory_.write("data/file", "data");
    }
    void add(const std::string& destination, const std::string& type, const std::string& source = "none",
             const std::vector<std::string>& options = {})
    {
        spec_.mounts.push_back({.destination = destination, .type = type, .source = source, .options = options});
    }
    Result<> make() const
    {
        const auto plan = TRY(plan_mounts(spec_));
        const os::Fd no_users;
        HostParts host_parts{plan, directory_.path(), no_users};
        std::vector<os::Fd> waiting;
        const auto next = [&]() -> Result<os::Fd> {
            if (waiting.empty()) waiting = TRY(host_parts.next());
            os::Fd first = std::move(waiting.front());
            waiting.erase(waiting.begin());
            return first;
        };
        auto layout = TRY(os::CgroupLayout::detect());
        const CgroupView cgroup{.layout = std::move(layout), .own = {}};
        const auto root = TRY(os::open_at(os::kCwd, directory_ / "root", O_RDONLY | O_DIRECTORY));
        return make_mounts(root.get(), plan, next, cgroup);
    }
    bool outside_is_untouched() const
    {
        return std::distance(fs::directory_iterator{directory_ / "outside"}, {}) == 1 &&
               directory_.read("outside/canary") == "host";
    }
    test::TempDir directory_;
    Spec spec_;
};

TEST_F(MountsTest, FileSystemsAndBinds)
{
    add("/proc", "proc", "proc");
    add("/tmp/deep", "tmpfs", "tmpfs", {"size=64k", "noexec"});
    add("/mnt", "bind", "data", {"bind", "ro"}); // relative to the bundle
    add("/etc/file", "", directory_ / "data/file", {"bind"});
    ASSERT_TRUE(succeeds(make()));
    EXPECT_TRUE(directory_.exists("root/proc/self"));
    EXPECT_EQ(directory_.read("root/mnt/file"), "data");
    EXPECT_EQ(directory_.read("root/etc/file"), "data");
    EXPECT_FALSE(os::open_at(directory_.fd(), "root/mnt/file", O_WRONLY));
    directory_.write("root/tmp/deep/x", "x");
    EXPECT_NE(test::read_text("/proc/self/mountinfo").find(directory_ / "root/tmp/deep rw,noexec"), std::string::npos);
}

TEST_F(MountsTest, AForgedProcIsRefused) // CVE-2019-16884, CVE-2019-19921
{
    add("/proc", "proc", "proc");
    add("/proc/sys", "tmpfs", "tmpfs");
    EXPECT_TRUE(fails_as(ErrorKind::Denied, "would forge /proc", make()));
    spec_.mounts.back() = {.destination = "/proc/self/attr", .type = "tmpfs", .source = "tmpfs", .options = {}};
    EXPECT_FALSE(make());
    EXPECT_FALSE(directory_.exists("root/proc/sys/made-up"));
}

TEST_F(MountsTest, AProcReachedByALinkIsNotCovered)
{
    fs::create_symlink("proc", directory_ / "root/alias");
    add("/proc", "proc", "proc");
    add("/alias/sys", "tmpfs", "tmpfs");
    EXPECT_TRUE(fails_as(ErrorKind::Denied, "would forge /proc", make()));
}

TEST_F(MountsTest, ListedFilesOfProcMayBeCovered)
{
    directory_.write("uptime", "forty-two");
    add("/proc", "proc", "proc");
    add("/proc/uptime", "bind", directory_ / "uptime", {"bind"});
    ASSERT_TRUE(succeeds(make()));
    EXPECT_EQ(directory_.read("root/proc/uptime"), "forty-two");
}

TEST_F(MountsTest, ProcOnALinkIsRefused) // CVE-2023-27561, CVE-2023-28642
{
    fs::remove(directory_ / "root/proc");
    fs::create_symlink("mnt", directory_ / "root/proc");
    add("/proc", "proc", "proc");
    EXPECT_FALSE(make());
    EXPECT_FALSE(directory_.exists("root/mnt/self"));
}

TEST_F(MountsTest, MountPointsStayInside)
{
    fs::create_symlink("../outside", directory_ / "root/up");
    fs::create_symlink(directory_ / "outside", directory_ / "root/absolute");
    for (const char* const destination : {"/up/new", "/absolute/new", "/../outside/new", "/up", "/absolute/canary"}) {
        spec_.mounts.clear();
        add(destination, "bind", directory_ / "data", {"bind"});
        (void)make().has_value(); // made inside or refused, never outside
        EXPECT_TRUE(outside_is_untouched()) << destination;
        spec_.mounts.clear();
        add(destination, "tmpfs", "tmpfs");
        (void)make().has_value();
        EXPECT_TRUE(outside_is_untouched()) << destination;
    }
}

TEST_F(MountsTest, OverADanglingLink)
{
    directory_.make_directory("root/etc");
    fs::create_symlink("../run/resolve/stub", directory_ / "root/etc/resolv.conf");
    add("/etc/resolv.conf", "bind", directory_ / "data/file", {"bind"});
    ASSERT_TRUE(succeeds(make()));
    EXPECT_EQ(directory_.read("root/etc/resolv.conf"), "data");
    EXPECT_FALSE(directory_.exists("root/run"));
}

TEST_F(MountsTest, MissingSource)
{
    add("/mnt", "bind", "no/such/directory", {"bind"});
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "the source of a bind mount must exist", make()));
}

TEST_F(MountsTest, WhatIsMountedInsideDoesNotReachTheHost)
{
    // The source's mount is shared, as it is on a host with systemd.
    const auto tmpfs = value_of(os::new_file_system("tmpfs", {}, 0));
    directory_.make_directory("shared");
    ASSERT_TRUE(succeeds(os::attach_mount(tmpfs.get(), os::kCwd, directory_ / "shared")));
    ASSERT_TRUE(succeeds(os::set_mount_propagation(os::kCwd, directory_ / "shared", 1UL << 20 /* MS_SHARED */, false)));
    directory_.make_directory("shared/sub");
    add("/mnt", "bind", directory_ / "shared", {"rbind"});
    ASSERT_TRUE(succeeds(make()));
    const auto inner = value_of(os::new_file_system("tmpfs", {}, 0));
    ASSERT_TRUE(succeeds(os::attach_mount(inner.get(), os::kCwd, directory_ / "root/mnt/sub")));
    directory_.write("root/mnt/sub/file", "x");
    EXPECT_FALSE(directory_.exists("shared/sub/file"));
}

TEST_F(MountsTest, MaskedAndReadOnlyPaths)
{
    directory_.write("root/secret/file", "secret");
    directory_.write("root/key", "key");
    directory_.write("root/fixed/file", "fixed");
    directory_.make_directory("root/dev");
    ASSERT_EQ(::mknod((directory_ / "root/dev/null").c_str(), S_IFCHR | 0666, makedev(1, 3)), 0);
    add("/proc", "proc", "proc");
    EXPECT_TRUE(in_child(CLONE_NEWNS, [&] {
        ASSERT_TRUE(succeeds(make()));
        const auto root = value_of(os::clone_mount(os::kCwd, directory_ / "root", true));
        ASSERT_TRUE(succeeds(os::attach_mount(root.get(), os::kCwd, directory_ / "root")));
        ASSERT_TRUE(succeeds(os::change_root(root.get())));
        ASSERT_TRUE(succeeds(mask_paths(root_now().get(), {"/secret", "/key", "/missing"})));
        ASSERT_TRUE(succeeds(make_paths_readonly(root_now().get(), {"/fixed", "/missing"})));
        EXPECT_TRUE(value_of(os::list_directory(os::kCwd, "/secret")).empty());
        EXPECT_FALSE(os::open_at(os::kCwd, "/secret/new", O_WRONLY | O_CREAT, 0600));
        EXPECT_EQ(value_of(os::read_file(os::kCwd, "/key")), "");
        EXPECT_EQ(value_of(os::read_file(os::kCwd, "/fixed/file")), "fixed");
        EXPECT_FALSE(os::open_at(os::kCwd, "/fixed/file", O_WRONLY));
        EXPECT_FALSE(os::exists(os::kCwd, "/missing"));
    }));
}

TEST_F(MountsTest, MaskingDoesNotTrustTheImagesNullDevice) // CVE-2025-31133
{
    directory_.write("root/key", "key");
    directory_.write("root/target", "untouched");
    directory_.make_directory("root/dev");
    fs::create_symlink("/target", directory_ / "root/dev/null");
    EXPECT_TRUE(in_child(CLONE_NEWNS, [&] {
        const auto root = value_of(os::clone_mount(os::kCwd, directory_ / "root", true));
        ASSERT_TRUE(succeeds(os::attach_mount(root.get(), os::kCwd, directory_ / "root")));
        ASSERT_TRUE(succeeds(os::change_root(root.get())));
        // Either it fails, or the file is masked by something else than what the image offered.
        if (mask_paths(root_now().get(), {"/key"})) {
            EXPECT_EQ(value_of(os::read_file(os::kCwd, "/key")), "");
        }
        EXPECT_EQ(value_of(os::read_file(os::kCwd, "/target")), "untouched");
    }));
}

TEST_F(MountsTest, MaskingNeedsTheRealNullDevice)
{
    directory_.write("root/key", "key");
    directory_.write("root/dev/null", "forged");
    EXPECT_TRUE(in_child(CLONE_NEWNS, [&] {
        const auto root = value_of(os::clone_mount(os::kCwd, directory_ / "root", true));
        ASSERT_TRUE(succeeds(os::attach_mount(root.get(), os::kCwd, directory_ / "root")));
        ASSERT_TRUE(succeeds(os::change_root(root.get())));
        EXPECT_TRUE(fails_as(ErrorKind::Denied, "not the null device", mask_paths(root_now().get(), {"/key"})));
        EXPECT_EQ(value_of(os::read_file(os::kCwd, "/key")), "key");
    }));
}

TEST_F(MountsTest, SysctlsAreWrittenInTheNamespaceOnly)
{
    const std::string host = test::read_text("/proc/sys/net/ipv4/ip_default_ttl");
    LinuxSpec spec;
    spec.namespaces.push_back({.flag = CLONE_NEWNET, .path = ""});
    spec.sysctl["net.ipv4.ip_default_ttl"] = "42";
    EXPECT_TRUE(in_child(CLONE_NEWNET | CLONE_NEWNS, [&] {
        // Something mounted over /proc cannot redirect the write: CVE-2025-52881.
        const auto forged = value_of(os::new_file_system("tmpfs", {}, 0));
        ASSERT_TRUE(succeeds(os::attach_mount(forged.get(), os::kCwd, "/proc/sys")));
        ASSERT_TRUE(succeeds(write_sysctls(spec)));
        const auto proc = value_of(os::new_file_system("proc", {}, 0));
        EXPECT_EQ(value_of(os::read_file(proc.get(), "sys/net/ipv4/ip_default_ttl")), "42\n");
    }));
    EXPECT_EQ(test::read_text("/proc/sys/net/ipv4/ip_default_ttl"), host);
}

} // namespace
} // namespace coppice::runtime
