#include "cgroup_files.h"
#include "coppice/os/cgroup_stats.h"
#include "coppice/test/expect.h"

namespace coppice::os {
namespace {

using namespace cgroup_files;
using test::fails_as;
using test::value_of;

/// "file=value" of each write, in order.
std::vector<std::string> texts(const std::vector<LimitWrite>& writes)
{
    std::vector<std::string> all;
    for (const LimitWrite& write : writes)
        all.push_back(write.file + "=" + write.value);
    return all;
}

using Texts = std::vector<std::string>;

TEST(CgroupV1Test, MemoryAndSwapInTheOrderThatTheKernelAccepts)
{
    const CgroupLimits limits{.memory_bytes = 10, .memory_swap_bytes = 20};
    EXPECT_EQ(texts(v1_writes(limits, false)), (Texts{"memory.limit_in_bytes=10", "memory.memsw.limit_in_bytes=20"}));
    EXPECT_EQ(texts(v1_writes(limits, true)), (Texts{"memory.memsw.limit_in_bytes=20", "memory.limit_in_bytes=10"}));
    EXPECT_EQ(texts(v1_writes({.memory_bytes = -1}, false)),
              (Texts{"memory.memsw.limit_in_bytes=-1", "memory.limit_in_bytes=-1"}));
}

TEST(CgroupV1Test, EveryLimitHasItsFile)
{
    CgroupLimits limits{.memory_low_bytes = 1, .pids = -1, .cpu_shares = 2, .cpu_quota_us = 3, .cpu_period_us = 4};
    limits.memory_swappiness = 0;
    limits.oom_killer_off = true;
    limits.cpu_burst_us = 5;
    limits.cpu_rt_runtime_us = 6;
    limits.cpu_rt_period_us = 7;
    limits.cpu_idle = 1;
    limits.io.weight = 100;
    limits.io.read_bps = {{8, 0, 9}};
    limits.huge_pages["2MB"] = 10;
    limits.net_class_id = 11;
    limits.net_priorities["lo"] = 12;
    limits.rdma["dev"] = {.handles = 13, .objects = {}};
    EXPECT_EQ(texts(v1_writes(limits, false)),
              (Texts{"memory.soft_limit_in_bytes=1", "memory.swappiness=0", "memory.oom_control=1", "cpu.shares=2",
                     "cpu.cfs_period_us=4", "cpu.cfs_burst_us=5", "cpu.cfs_quota_us=3", "cpu.rt_period_us=7",
                     "cpu.rt_runtime_us=6", "cpu.idle=1", "pids.max=max", "blkio.weight=100",
                     "blkio.throttle.read_bps_device=8:0 9", "hugetlb.2MB.limit_in_bytes=10",
                     "hugetlb.2MB.rsvd.limit_in_bytes=10", "net_cls.classid=11", "net_prio.ifpriomap=lo 12",
                     "rdma.max=dev hca_handle=13"}));
    EXPECT_EQ(v1_controllers_for(limits),
              (Texts{"memory", "cpu", "pids", "blkio", "hugetlb", "net_cls", "net_prio", "rdma"}));
}

TEST(CgroupV2Test, SwapIsWhatIsMoreThanMemory)
{
    const CgroupLimits both{.memory_bytes = 10, .memory_swap_bytes = 25};
    EXPECT_EQ(texts(value_of(v2_writes(both, both))), (Texts{"memory.swap.max=15", "memory.max=10"}));
    EXPECT_EQ(texts(value_of(v2_writes({.memory_bytes = -1}, {.memory_bytes = -1}))),
              (Texts{"memory.swap.max=max", "memory.max=max"}));
    // An update of one of them, the other being what it was.
    EXPECT_EQ(texts(value_of(v2_writes({.memory_bytes = 20}, {.memory_bytes = 20, .memory_swap_bytes = 25}))),
              (Texts{"memory.swap.max=5", "memory.max=20"}));
    EXPECT_EQ(texts(value_of(v2_writes({.memory_swap_bytes = 40}, {.memory_bytes = 10, .memory_swap_bytes = 40}))),
              (Texts{"memory.swap.max=30"}));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "memory and swap",
                         v2_writes({.memory_swap_bytes = 40}, {.memory_swap_bytes = 40})));
    const CgroupLimits below{.memory_bytes = 10, .memory_swap_bytes = 5};
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "memory and swap", v2_writes(below, below)));
}

TEST(CgroupV2Test, CpuAndIoAreConverted)
{
    const auto one = [](const CgroupLimits& limits) { return texts(value_of(v2_writes(limits, limits))); };
    EXPECT_EQ(one({.cpu_shares = 2}), (Texts{"cpu.weight=1"}));
    EXPECT_EQ(one({.cpu_shares = 1024}), (Texts{"cpu.weight=39"}));
    EXPECT_EQ(one({.cpu_shares = 262144}), (Texts{"cpu.weight=10000"}));
    EXPECT_EQ(one({.cpu_quota_us = -1}), (Texts{"cpu.max=max 100000"}));
    EXPECT_EQ(texts(value_of(v2_writes({.cpu_period_us = 50}, {.cpu_quota_us = 20, .cpu_period_us = 50}))),
              (Texts{"cpu.max=20 50"}));
    CgroupLimits io;
    io.io.weight = 10;
    io.io.write_iops = {{8, 0, 5}, {8, 1, 0}};
    const auto writes = value_of(v2_writes(io, io));
    EXPECT_EQ(texts(writes), (Texts{"io.bfq.weight=10", "io.max=8:0 wiops=5", "io.max=8:1 wiops=max"}));
    EXPECT_EQ(writes[0].other_file + "=" + writes[0].other_value, "io.weight=1");
    io.io.weight = 1000;
    EXPECT_EQ(value_of(v2_writes(io, io))[0].other_value, "10000");
}

TEST(CgroupV2Test, WhatOnlyV1HasIsRefusedByName)
{
    CgroupLimits limits;
    limits.memory_swappiness = 10;
    EXPECT_TRUE(fails_as(ErrorKind::Unsupported, "swappiness", v2_writes(limits, limits)));
    limits = {};
    limits.oom_killer_off = true;
    EXPECT_TRUE(fails_as(ErrorKind::Unsupported, "disableOOMKiller", v2_writes(limits, limits)));
    limits = {};
    limits.cpu_rt_runtime_us = 10;
    EXPECT_TRUE(fails_as(ErrorKind::Unsupported, "realtimeRuntime", v2_writes(limits, limits)));
    limits = {};
    limits.net_class_id = 10;
    EXPECT_TRUE(fails_as(ErrorKind::Unsupported, "classID", v2_writes(limits, limits)));
    limits = {};
    limits.unified["../x.y"] = "1";
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "../x.y", v2_writes(limits, limits)));
}

TEST(CgroupStatsTest, CpuLists)
{
    EXPECT_EQ(value_of(parse_cpu_list("0-2,5\n")), (std::vector<std::uint16_t>{0, 1, 2, 5}));
    EXPECT_TRUE(value_of(parse_cpu_list("\n")).empty());
    EXPECT_TRUE(value_of(parse_cpu_list("")).empty());
    for (const char* const text : {"x", "1-", "3-1", "0,", "70000", "0-65536"})
        EXPECT_FALSE(parse_cpu_list(text).has_value()) << text;
    EXPECT_EQ(value_of(parse_cpu_list("65535")).size(), 1U);
}

} // namespace
} // namespace coppice::os
