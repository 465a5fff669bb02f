#include "coppice/instance/usage.h"

#include "coppice/instance/process_list.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace coppice::instance {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr Counted kAll{.cpu = true, .memory = true, .swap = true, .processes = true, .io = true};

os::CgroupStats stats()
{
    os::CgroupStats stats;
    stats.cpu.total_ns = 3 * kSecond;
    stats.memory.memory = {.usage = 100, .most = 0, .limit = 200, .failures = 0};
    stats.memory.swap.usage = 130;
    stats.memory.counts = {{"inactive_file", 7}, {"total_inactive_file", 20}};
    stats.pids.current = 4;
    stats.pids.limit = 50;
    stats.io.bytes = {{8, 0, "Read", 10}, {8, 0, "Write", 1}, {8, 16, "Read", 5}, {8, 0, "Total", 99}};
    return stats;
}

TEST(Usage, IsWhatTheKernelCounts)
{
    const auto usage = usage_of(stats(), kAll, 1);
    EXPECT_EQ(usage.cpu_ns, 3 * kSecond);
    EXPECT_EQ(usage.memory, 80);
    EXPECT_EQ(usage.memory_limit, 200);
    EXPECT_EQ(usage.swap, 30);
    EXPECT_EQ(usage.processes, 4);
    EXPECT_EQ(usage.process_limit, 50);
    EXPECT_EQ(usage.read_bytes, 15);
    EXPECT_EQ(usage.written_bytes, 1);
    EXPECT_DOUBLE_EQ(*memory_percent(usage), 40);
}

TEST(Usage, WhatIsNotCountedIsNotZero)
{
    const auto document = to_json(usage_of(stats(), {}, 1));
    for (const char* const key : {"cpuNs", "memoryBytes", "memoryLimitBytes", "memoryPercent", "swapBytes", "processes",
                                  "processLimit", "blockReadBytes", "blockWrittenBytes"})
        EXPECT_TRUE(document.at(key).is_null()) << key;
}

TEST(Usage, NoLimitIsNone)
{
    auto unlimited = stats();
    unlimited.pids.limit = 0;
    for (const std::uint64_t none : {UINT64_MAX, UINT64_MAX / 8192 * 4096}) {
        unlimited.memory.memory.limit = none;
        const auto usage = usage_of(unlimited, kAll, 1);
        EXPECT_FALSE(usage.memory_limit);
        EXPECT_FALSE(usage.process_limit);
        EXPECT_FALSE(memory_percent(usage));
    }
}

TEST(Usage, ShareOfAProcessorIsOfTwoSamples)
{
    Usage before, later;
    before.time_ns = 10 * kSecond;
    later.time_ns = 12 * kSecond;
    EXPECT_FALSE(cpu_percent(before, later));
    before.cpu_ns = kSecond;
    later.cpu_ns = 4 * kSecond;
    EXPECT_DOUBLE_EQ(*cpu_percent(before, later), 150);
    EXPECT_FALSE(cpu_percent(later, before)) << "started again meanwhile";
    EXPECT_FALSE(cpu_percent(before, before));
}

const ProcessFiles kFiles{.stat = "4711 (a) b (c) R 1 1 1 0 -1 0 0 0 0 0 150 50 0 0 20 0 1 0 1000 9999 3 0\n",
                          .status = "Name:\ta\nUid:\t1000000\t1000033\t1000000\t1000000\nNSpid:\t4711\t12\t1\n",
                          .command_line = std::string{"/bin/a\0-x\0\x1b[2J\0", 15}};
const ProcessClock kClock{
    .now = {.tv_sec = 100, .tv_nsec = 0}, .since_boot_ns = 30 * kSecond, .ticks_per_second = 100, .page_bytes = 4096};
const os::IdMap kUsers{{.inside = 0, .outside = 1'000'000, .size = 65'536}};

TEST(Processes, AreAsTheInstanceSeesThem)
{
    const auto process = process_of(kFiles, kUsers, kClock);
    ASSERT_TRUE(process);
    EXPECT_EQ(process->pid, 12);
    EXPECT_EQ(process->host_pid, 4711);
    EXPECT_EQ(process->user, 33);
    EXPECT_EQ(process->state, 'R');
    EXPECT_EQ(process->memory, 3 * 4096);
    EXPECT_DOUBLE_EQ(process->cpu_percent, 10) << "2 s of 20";
    EXPECT_EQ(process->started.substr(0, 19), "1970-01-01T00:01:20");
    EXPECT_EQ(process->command, "/bin/a -x \x1b[2J");
}

TEST(Processes, WithoutArgumentsHaveTheirName)
{
    auto files = kFiles;
    files.command_line.clear();
    EXPECT_EQ(process_of(files, {}, kClock)->command, "[a) b (c]");
    EXPECT_FALSE(process_of(files, {}, kClock)->user) << "nobody whom the instance knows";
}

TEST(Processes, ThatCannotBeReadAreLeftOut)
{
    EXPECT_FALSE(process_of({}, kUsers, kClock));
    for (const char* const stat : {"1 (a", "1 )a(", "1 (a) R 1 2 3"}) {
        auto files = kFiles;
        files.stat = stat;
        EXPECT_FALSE(process_of(files, kUsers, kClock)) << stat;
    }
    auto files = kFiles;
    files.status = "Name:\ta\n";
    EXPECT_FALSE(process_of(files, kUsers, kClock));
}

TEST(Processes, MapsAreLinesOfThreeNumbers)
{
    EXPECT_EQ(
        parse_id_map("         0    1000000      65536\n 70000 5 1\nx\n"),
        (os::IdMap{{.inside = 0, .outside = 1'000'000, .size = 65'536}, {.inside = 70'000, .outside = 5, .size = 1}}));
}

} // namespace
} // namespace coppice::instance
