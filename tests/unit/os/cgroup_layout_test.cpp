#include "coppice/os/cgroup.h"

#include "coppice/test/expect.h"

#include <algorithm>

namespace coppice::os {
namespace {

using test::fails_as;
using test::value_of;

constexpr const char* kUnified = "25 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
                                 "31 25 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

constexpr const char* kHybrid =
    "30 25 0:25 / /sys/fs/cgroup ro,nosuid shared:8 - tmpfs tmpfs ro,mode=755\n"
    "31 30 0:26 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n"
    "32 30 0:27 / /sys/fs/cgroup/systemd rw shared:10 - cgroup cgroup rw,xattr,name=systemd\n"
    "33 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:11 - cgroup cgroup rw,cpu,cpuacct\n"
    "34 30 0:29 / /sys/fs/cgroup/memory rw shared:12 - cgroup cgroup rw,memory,release_agent=/sbin/agent\n"
    "35 30 0:30 / /sys/fs/cgroup/pids rw shared:13 - cgroup cgroup rw,pids,clone_children\n";
constexpr const char* kHybridOwn = "11:memory:/user.slice\n5:cpu,cpuacct:/system.slice/cron.service\n3:pids:/\n"
                                   "1:name=systemd:/user.slice/session-1\n0::/user.slice/session-1.scope\n";

TEST(CgroupLayoutTest, UnifiedHost)
{
    const auto layout = value_of(CgroupLayout::parse(kUnified, "0::/user.slice/user-0.slice/session-1.scope\n"));
    EXPECT_EQ(layout.mode(), CgroupMode::Unified);
    EXPECT_EQ(layout.v2_mount(), "/sys/fs/cgroup");
    EXPECT_EQ(layout.v2_directory("/coppice/web"), "/sys/fs/cgroup/coppice/web");
    EXPECT_EQ(layout.v2_directory("/"), "/sys/fs/cgroup");
    // Beside the caller's own cgroup, whose processes forbid children with controllers.
    EXPECT_EQ(layout.v2_directory("web"), "/sys/fs/cgroup/user.slice/user-0.slice/web");
    EXPECT_EQ(layout.v1_directory("memory", "/x"), "");
    EXPECT_TRUE(layout.v1_hierarchies().empty());
}

TEST(CgroupLayoutTest, RelativePathOfACallerInTheRootCgroup)
{
    const auto layout = value_of(CgroupLayout::parse(kUnified, "0::/\n"));
    EXPECT_EQ(layout.v2_directory("coppice/web"), "/sys/fs/cgroup/coppice/web");
    const auto child = value_of(CgroupLayout::parse(kUnified, "0::/init.scope\n"));
    EXPECT_EQ(child.v2_directory("web"), "/sys/fs/cgroup/web");
}

TEST(CgroupLayoutTest, HybridHost)
{
    const auto layout = value_of(CgroupLayout::parse(kHybrid, kHybridOwn));
    EXPECT_EQ(layout.mode(), CgroupMode::Hybrid);
    EXPECT_EQ(layout.v2_directory("/c/web"), "/sys/fs/cgroup/unified/c/web");
    EXPECT_EQ(layout.v2_directory("web"), "/sys/fs/cgroup/unified/user.slice/session-1.scope/web");
    EXPECT_EQ(layout.v1_directory("memory", "/c/web"), "/sys/fs/cgroup/memory/c/web");
    EXPECT_EQ(layout.v1_directory("memory", "web"), "/sys/fs/cgroup/memory/user.slice/web");
    EXPECT_EQ(layout.v1_directory("cpuset", "/c"), "");
    // Mount options are no controllers.
    for (const char* const option : {"rw", "xattr", "clone_children", "release_agent=/sbin/agent"})
        EXPECT_EQ(layout.v1_directory(option, "/c"), "") << option;
}

TEST(CgroupLayoutTest, CoMountedControllersShareADirectoryAndAnOwnPath)
{
    const auto layout = value_of(CgroupLayout::parse(kHybrid, kHybridOwn));
    EXPECT_EQ(layout.v1_directory("cpu", "/c"), "/sys/fs/cgroup/cpu,cpuacct/c");
    EXPECT_EQ(layout.v1_directory("cpuacct", "/c"), "/sys/fs/cgroup/cpu,cpuacct/c");
    EXPECT_EQ(layout.v1_directory("cpu", "c"), "/sys/fs/cgroup/cpu,cpuacct/system.slice/cron.service/c");
    EXPECT_EQ(layout.v1_directory("pids", "c"), "/sys/fs/cgroup/pids/c");
    auto hierarchies = layout.v1_hierarchies();
    ASSERT_EQ(hierarchies.size(), 4U);
    const auto cpu =
        std::find_if(hierarchies.begin(), hierarchies.end(), [](const auto& h) { return h.name == "cpu,cpuacct"; });
    ASSERT_NE(cpu, hierarchies.end());
    EXPECT_EQ(cpu->options, (std::vector<std::string>{"cpu", "cpuacct"}));
    const auto systemd =
        std::find_if(hierarchies.begin(), hierarchies.end(), [](const auto& h) { return h.name == "systemd"; });
    ASSERT_NE(systemd, hierarchies.end());
    EXPECT_EQ(systemd->options, (std::vector<std::string>{"name=systemd"}));
}

TEST(CgroupLayoutTest, LegacyHost)
{
    const auto layout =
        value_of(CgroupLayout::parse("34 30 0:29 / /cg/memory rw - cgroup none rw,memory\n", "2:memory:/a\n"));
    EXPECT_EQ(layout.mode(), CgroupMode::Legacy);
    EXPECT_EQ(layout.v2_directory("/x"), "");
    EXPECT_EQ(layout.v1_directory("memory", "x"), "/cg/memory/a/x");
}

TEST(CgroupLayoutTest, EscapedMountPoints)
{
    const auto layout =
        value_of(CgroupLayout::parse("1 2 0:3 / /mnt/a\\040b\\134c\\011d rw - cgroup2 none rw\n", "0::/\n"));
    EXPECT_EQ(layout.v2_mount(), "/mnt/a b\\c\td");
    // A backslash at the very end, or without three digits, stays as it is.
    EXPECT_EQ(value_of(CgroupLayout::parse("1 2 0:3 / /m\\04 rw - cgroup2 none rw\n", "")).v2_mount(), "/m\\04");
}

TEST(CgroupLayoutTest, OptionalFieldsBeforeTheDashMayBeAbsentOrMany)
{
    EXPECT_EQ(value_of(CgroupLayout::parse("1 2 0:3 / /a rw - cgroup2 none rw", "")).v2_mount(), "/a");
    EXPECT_EQ(value_of(CgroupLayout::parse("1 2 0:3 / /b rw shared:1 master:2 - cgroup2 none rw", "")).v2_mount(),
              "/b");
}

TEST(CgroupLayoutTest, OnlyWholeHierarchiesCount)
{
    // A container's bind mount of its own cgroup is not the hierarchy's root.
    const auto partial = CgroupLayout::parse("1 2 0:3 /docker/abc /sys/fs/cgroup rw - cgroup2 none rw\n", "0::/\n");
    EXPECT_TRUE(fails_as(ErrorKind::Unsupported, "no cgroup hierarchy", partial));
    const auto second =
        value_of(CgroupLayout::parse("1 2 0:3 /x /part rw - cgroup2 none rw\n1 2 0:3 / /whole rw - cgroup2 n rw\n"
                                     "1 2 0:3 / /later rw - cgroup2 n rw\n",
                                     "0::/\n"));
    EXPECT_EQ(second.v2_mount(), "/whole");
}

TEST(CgroupLayoutTest, BrokenTextsAreNoLayout)
{
    for (const char* const text : {"", "\n\n", "garbage", " - cgroup2 ", "1 2 3 - cgroup2 none rw", " - ",
                                   "25 1 8:1 / / rw - ext4 /dev/sda1 rw", "1 2 0:3 / /a rw - cgroup2"})
        EXPECT_TRUE(fails_as(ErrorKind::Unsupported, "", CgroupLayout::parse(text, "::\n:\n\n0::"))) << text;
}

TEST(CgroupPlanTest, HybridJoinsWhatClientsReadAndLimitsAskFor)
{
    const auto layout = value_of(CgroupLayout::parse(kHybrid, kHybridOwn));
    const auto plain = value_of(plan_cgroup(layout, "/c", {}));
    EXPECT_EQ(plain.v2, "/sys/fs/cgroup/unified/c");
    // This host has no blkio: what is read and not limited may be missing.
    EXPECT_EQ(plain.v1, (std::map<std::string, std::string>{{"cpu", "/sys/fs/cgroup/cpu,cpuacct/c"},
                                                            {"cpuacct", "/sys/fs/cgroup/cpu,cpuacct/c"},
                                                            {"memory", "/sys/fs/cgroup/memory/c"},
                                                            {"pids", "/sys/fs/cgroup/pids/c"}}));
    EXPECT_EQ(value_of(plan_cgroup(layout, "/c", {.memory_bytes = 1, .pids = 5, .cpu_quota_us = 10})), plain);
}

TEST(CgroupPlanTest, DevicesAreListedOnDemandWhereAFilterRestrictsThem)
{
    const std::string devices = "36 30 0:31 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n";
    const auto hybrid = value_of(CgroupLayout::parse(kHybrid + devices, kHybridOwn));
    EXPECT_FALSE(value_of(plan_cgroup(hybrid, "/c", {})).v1.contains("devices"));
    EXPECT_EQ(value_of(plan_cgroup(hybrid, "/c", {}, true)).v1.at("devices"), "/sys/fs/cgroup/devices/c");
    const auto without = value_of(CgroupLayout::parse(kHybrid, kHybridOwn));
    EXPECT_FALSE(value_of(plan_cgroup(without, "/c", {}, true)).v1.contains("devices")) << "the filter does it";
}

TEST(CgroupPlanTest, ALegacyHostHasNothingElseToFreezeAndRestrictBy)
{
    const std::string legacy = "1 2 0:1 / /cg/devices rw - cgroup c rw,devices\n"
                               "1 2 0:2 / /cg/pids rw - cgroup c rw,pids\n"
                               "1 2 0:3 / /cg/freezer rw - cgroup c rw,freezer\n";
    const auto paths = value_of(plan_cgroup(value_of(CgroupLayout::parse(legacy, "")), "/c", {}));
    EXPECT_EQ(paths.v2, "");
    for (const char* const controller : {"devices", "pids", "freezer"})
        EXPECT_EQ(paths.v1.at(controller), std::string{"/cg/"} + controller + "/c");
}

TEST(CgroupLayoutTest, PathOfACgroup)
{
    const auto hybrid = value_of(CgroupLayout::parse(kHybrid, kHybridOwn));
    EXPECT_EQ(hybrid.path_of(value_of(plan_cgroup(hybrid, "/a/b", {}))), "/a/b");
    const auto legacy = value_of(CgroupLayout::parse("34 30 0:29 / /cg/memory rw - cgroup none rw,memory\n", ""));
    EXPECT_EQ(legacy.path_of({.v2 = {}, .v1 = {{"memory", "/cg/memory/a"}}}), "/a");
}

TEST(CgroupPlanTest, LimitsThatTheHostCannotKeepAreRefused)
{
    const auto layout = value_of(CgroupLayout::parse(kHybrid, kHybridOwn));
    CgroupLimits cpuset;
    cpuset.cpuset_cpus = "0";
    EXPECT_TRUE(fails_as(ErrorKind::Unsupported, "cpuset", plan_cgroup(layout, "/c", cpuset)));
    CgroupLimits unified;
    unified.unified["memory.high"] = "1";
    EXPECT_TRUE(fails_as(ErrorKind::Unsupported, "v2", plan_cgroup(layout, "/c", unified)));
}

} // namespace
} // namespace coppice::os
