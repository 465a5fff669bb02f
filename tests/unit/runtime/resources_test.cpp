#include "resources.h"

#include "coppice/os/cgroup_stats.h"
#include "coppice/test/expect.h"
#include "program/update_flags.h"
#include "spec_parts.h"
#include "stats_json.h"

#include <nlohmann/json.hpp>

namespace coppice::runtime {
namespace {

using nlohmann::json;
using test::fails_as;
using test::value_of;

Result<os::CgroupLimits> parse(const char* text)
{
    const auto document = json::parse(text);
    return parse_limits(JsonNode{document, "resources"});
}

TEST(ResourcesTest, EveryMember)
{
    const auto limits = value_of(parse(R"({
        "memory": {"limit": 1, "reservation": 2, "swap": 3, "kernel": 4, "kernelTCP": 5, "swappiness": 0,
                   "disableOOMKiller": true, "useHierarchy": true, "checkBeforeUpdate": true},
        "cpu": {"shares": 6, "quota": 7, "burst": 0, "period": 8, "realtimeRuntime": 9, "realtimePeriod": 10,
                "cpus": "0-1", "mems": "0", "idle": 0},
        "pids": {"limit": 11},
        "blockIO": {"weight": 12, "leafWeight": 13,
                    "weightDevice": [{"major": 8, "minor": 0, "weight": 14, "leafWeight": 15}],
                    "throttleReadBpsDevice": [{"major": 8, "minor": 1, "rate": 16}],
                    "throttleWriteBpsDevice": [{"major": 8, "minor": 2, "rate": 17}],
                    "throttleReadIOPSDevice": [{"major": 8, "minor": 3, "rate": 18}],
                    "throttleWriteIOPSDevice": [{"major": 8, "minor": 4, "rate": 0}]},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
        "network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 5}]},
        "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 0}},
        "unified": {"memory.high": "1"}})"));
    EXPECT_EQ(limits.memory_bytes, 1);
    EXPECT_EQ(limits.memory_low_bytes, 2);
    EXPECT_EQ(limits.memory_swap_bytes, 3);
    EXPECT_EQ(limits.memory_swappiness, 0U) << "no swapping at all is a wish";
    EXPECT_TRUE(limits.oom_killer_off && limits.memory_hierarchy && limits.check_memory_use);
    EXPECT_EQ(limits.cpu_shares, 6U);
    EXPECT_EQ(limits.cpu_quota_us, 7);
    EXPECT_EQ(limits.cpu_burst_us, 0U) << "an update switches it off so";
    EXPECT_EQ(limits.cpu_period_us, 8U);
    EXPECT_EQ(limits.cpu_rt_runtime_us, 9);
    EXPECT_EQ(limits.cpu_rt_period_us, 10U);
    EXPECT_EQ(limits.cpu_idle, 0);
    EXPECT_EQ(limits.pids, 11);
    EXPECT_EQ(limits.io.weight, 12U);
    EXPECT_EQ(limits.io.leaf_weight, 13U);
    EXPECT_EQ(limits.io.device_weights, (std::vector<os::DeviceNumber>{{8, 0, 14}}));
    EXPECT_EQ(limits.io.device_leaf_weights, (std::vector<os::DeviceNumber>{{8, 0, 15}}));
    EXPECT_EQ(limits.io.read_bps, (std::vector<os::DeviceNumber>{{8, 1, 16}}));
    EXPECT_EQ(limits.io.write_bps, (std::vector<os::DeviceNumber>{{8, 2, 17}}));
    EXPECT_EQ(limits.io.read_iops, (std::vector<os::DeviceNumber>{{8, 3, 18}}));
    EXPECT_EQ(limits.io.write_iops, (std::vector<os::DeviceNumber>{{8, 4, 0}}));
    EXPECT_EQ(limits.huge_pages.at("2MB"), 0U);
    EXPECT_EQ(limits.net_class_id, 1048577U);
    EXPECT_EQ(limits.net_priorities.at("eth0"), 5U);
    EXPECT_EQ(limits.rdma.at("mlx5_1").handles, 3U);
    EXPECT_EQ(limits.rdma.at("mlx5_1").objects, 0U);
    EXPECT_EQ(limits.unified.at("memory.high"), "1");
}

TEST(ResourcesTest, WhatCannotBeIsRefusedByName)
{
    const std::pair<const char*, const char*> bad[] = {
        {R"({"memory": {"limit": -2}})", "resources.memory.limit"},
        {R"({"memory": {"limit": "5"}})", "resources.memory.limit"},
        {R"({"memory": {"swappiness": 101}})", "swappiness"},
        {R"({"cpu": {"idle": 2}})", "resources.cpu.idle"},
        {R"({"cpu": {"cpus": "all"}})", "cpus"},
        {R"({"cpu": {"shares": -1}})", "shares"},
        {R"({"blockIO": {"weight": 9}})", "weight"},
        {R"({"blockIO": {"weight": 1001}})", "weight"},
        {R"({"blockIO": {"throttleReadBpsDevice": [{"major": 8, "rate": 1}]}})", "minor"},
        {R"({"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0}]}})", "rate"},
        {R"({"hugepageLimits": [{"pageSize": "../../2MB", "limit": 1}]})", "pageSize"},
        {R"({"hugepageLimits": [{"pageSize": "2M", "limit": 1}]})", "pageSize"},
        {R"({"network": {"priorities": [{"name": "a b", "priority": 1}]}})", "name"},
        {R"({"network": {"classID": 4294967296}})", "classID"},
        {R"({"rdma": {"a/b": {"hcaHandles": 1}}})", "rdma"},
        {R"({"pids": 5})", "resources.pids"},
    };
    for (const auto& [text, word] : bad)
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, word, parse(text))) << text;
}

TEST(ResourcesTest, MergingKeepsWhatIsNotAskedFor)
{
    auto resources = json::parse(R"({"memory": {"limit": 1, "swap": 2}, "cpu": {"shares": 5, "idle": 1},
        "blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}]}})");
    merge_resources(resources, json::parse(R"({"memory": {"limit": 3, "swap": 0, "reservation": null},
        "cpu": {"shares": 0, "idle": 0, "cpus": ""}, "pids": {"limit": 7},
        "blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 2}, {"major": 8, "minor": 1, "rate": 3}]}
        })"));
    EXPECT_EQ(resources, json::parse(R"({"memory": {"limit": 3, "swap": 2}, "cpu": {"shares": 5, "idle": 0},
        "pids": {"limit": 7},
        "blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 2}, {"major": 8, "minor": 1, "rate": 3}]}
        })"));
}

TEST(ResourcesTest, OptionsOfUpdate)
{
    using namespace runtime_program;
    const auto index = [](std::string_view name) {
        for (std::size_t i = 0; i < kUpdateFlags.size(); ++i)
            if (kUpdateFlags[i].name == name) return i;
        ADD_FAILURE() << name;
        return std::size_t{0};
    };
    EXPECT_EQ(json::parse(value_of(to_resources({{index("memory"), "64m"},
                                                 {index("memory-swap"), "-1"},
                                                 {index("cpu-quota"), "-1"},
                                                 {index("cpuset-cpus"), "0"},
                                                 {index("kernel-memory"), "nonsense"}}))),
              json::parse(R"({"memory": {"limit": 67108864, "swap": -1}, "cpu": {"quota": -1, "cpus": "0"}})"));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "--memory", to_resources({{index("memory"), "64x"}})));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "--pids-limit", to_resources({{index("pids-limit"), "many"}})));
}

TEST(StatsTest, TheFormThatClientsOfRuncRead)
{
    os::CgroupStats stats;
    stats.cpu.total_ns = 7;
    stats.memory.memory = {.usage = 5, .most = 0, .limit = UINT64_MAX, .failures = 0};
    stats.io.bytes = {{.major = 8, .minor = 0, .operation = "Read", .value = 9}};
    stats.huge_pages["2MB"] = {};
    const auto document = to_json(stats);
    EXPECT_EQ(document["cpu"].dump(), R"({"usage":{"total":7,"kernel":0,"user":0},"throttling":{}})");
    EXPECT_EQ(document["memory"]["usage"].dump(), R"({"limit":18446744073709551615,"usage":5,"failcnt":0})");
    EXPECT_EQ(document["blkio"].dump(), R"({"ioServiceBytesRecursive":[{"major":8,"op":"Read","value":9}]})");
    EXPECT_EQ(document["hugetlb"].dump(), R"({"2MB":{"failcnt":0}})");
    EXPECT_EQ(document["pids"].dump(), "{}");
    EXPECT_TRUE(document["network_interfaces"].is_null());
}

} // namespace
} // namespace coppice::runtime
