#include "cgroup_files.h"
#include "coppice/base/text.h"
#include "coppice/os/file.h"

// cgroup v1: a hierarchy per controller. Source: the kernel's Documentation/admin-guide/cgroup-v1/
namespace coppice::os::cgroup_files {

namespace {

void add_memory(std::vector<LimitWrite>& writes, const CgroupLimits& limits, bool swap_first)
{
    if (limits.memory_hierarchy)
        writes.push_back({.controller = "memory",
                          .file = "memory.use_hierarchy",
                          .value = "1",
                          .what = "memory hierarchy",
                          .skip_if_missing = true});
    // Memory without a limit means swap without one, too: the kernel keeps the one below the other.
    const bool none_at_all = limits.memory_bytes == -1 && !limits.memory_swap_bytes;
    const auto swap = none_at_all ? std::optional<std::int64_t>{-1} : limits.memory_swap_bytes;
    const auto add_swap = [&] {
        if (swap) // a kernel that does not account for swap has no limit of it
            writes.push_back({.controller = "memory",
                              .file = "memory.memsw.limit_in_bytes",
                              .value = cat(*swap),
                              .what = "memory and swap",
                              .skip_if_missing = true});
    };
    if (swap_first || none_at_all) add_swap();
    if (limits.memory_bytes)
        writes.push_back({.controller = "memory",
                          .file = "memory.limit_in_bytes",
                          .value = cat(*limits.memory_bytes),
                          .what = "memory"});
    if (!swap_first && !none_at_all) add_swap();
    if (limits.memory_low_bytes)
        writes.push_back({.controller = "memory",
                          .file = "memory.soft_limit_in_bytes",
                          .value = cat(*limits.memory_low_bytes),
                          .what = "memory reservation"});
    if (limits.memory_swappiness)
        writes.push_back({.controller = "memory",
                          .file = "memory.swappiness",
                          .value = cat(*limits.memory_swappiness),
                          .what = "swappiness"});
    if (limits.oom_killer_off)
        writes.push_back({.controller = "memory",
                          .file = "memory.oom_control",
                          .value = "1",
                          .what = "disableOOMKiller",
                          .content = Content::Number,
                          .key = "oom_kill_disable",
                          .unset = "0"});
}

void add_cpu(std::vector<LimitWrite>& writes, const CgroupLimits& limits)
{
    const auto add = [&writes](const char* file, const std::string& value, const char* what, bool may_wait = false) {
        writes.push_back({.controller = "cpu", .file = file, .value = value, .what = what, .may_wait = may_wait});
    };
    if (limits.cpu_shares) add("cpu.shares", cat(*limits.cpu_shares), "CPU shares");
    if (limits.cpu_period_us) add("cpu.cfs_period_us", cat(*limits.cpu_period_us), "CPU period", true);
    if (limits.cpu_burst_us) {
        add("cpu.cfs_burst_us", cat(*limits.cpu_burst_us), "CPU burst", true);
        writes.back().kernel_need = "Linux 5.14";
        writes.back().skip_if_missing = *limits.cpu_burst_us == 0;
    }
    if (limits.cpu_quota_us) add("cpu.cfs_quota_us", cat(*limits.cpu_quota_us), "CPU quota");
    if (limits.cpu_rt_period_us) add("cpu.rt_period_us", cat(*limits.cpu_rt_period_us), "CPU realtime period", true);
    if (limits.cpu_rt_period_us) writes.back().kernel_need = "CONFIG_RT_GROUP_SCHED";
    if (limits.cpu_rt_runtime_us) add("cpu.rt_runtime_us", cat(*limits.cpu_rt_runtime_us), "CPU realtime runtime");
    if (limits.cpu_rt_runtime_us) writes.back().kernel_need = "CONFIG_RT_GROUP_SCHED";
    if (limits.cpu_idle) {
        add("cpu.idle", cat(*limits.cpu_idle), "CPU idle");
        writes.back().kernel_need = "Linux 5.15";
        writes.back().skip_if_missing = *limits.cpu_idle == 0;
    }
}

void add_io(std::vector<LimitWrite>& writes, const IoLimits& io)
{
    const auto weight = [&writes](const char* file, std::uint64_t value, const char* what, const char* need) {
        writes.push_back({.controller = "blkio", .file = file, .value = cat(value), .what = what, .kernel_need = need});
    };
    constexpr const char* kWeights = "the scheduler BFQ or, before Linux 5.0, CFQ";
    constexpr const char* kLeafWeights = "the scheduler CFQ, gone since Linux 5.0";
    if (io.weight) {
        weight("blkio.weight", *io.weight, "blockIO weight", kWeights);
        writes.back().other_file = "blkio.bfq.weight";
        writes.back().other_value = writes.back().value;
    }
    if (io.leaf_weight) weight("blkio.leaf_weight", *io.leaf_weight, "blockIO leafWeight", kLeafWeights);
    const auto devices = [&writes](const char* file, const std::vector<DeviceNumber>& numbers, const char* what,
                                   const char* need) {
        for (const DeviceNumber& device : numbers) {
            const std::string key = cat(device.major, ':', device.minor);
            writes.push_back({.controller = "blkio",
                              .file = file,
                              .value = cat(key, ' ', device.value),
                              .what = what,
                              .kernel_need = need,
                              .content = Content::Line,
                              .key = key,
                              .unset = key + " 0"});
        }
    };
    const auto first = writes.size();
    devices("blkio.weight_device", io.device_weights, "blockIO weightDevice", kWeights);
    for (auto i = first; i < writes.size(); ++i) {
        writes[i].other_file = "blkio.bfq.weight_device";
        writes[i].other_value = writes[i].value;
    }
    devices("blkio.leaf_weight_device", io.device_leaf_weights, "blockIO weightDevice.leafWeight", kLeafWeights);
    constexpr const char* kThrottling = "CONFIG_BLK_DEV_THROTTLING";
    devices("blkio.throttle.read_bps_device", io.read_bps, "blockIO throttleReadBpsDevice", kThrottling);
    devices("blkio.throttle.write_bps_device", io.write_bps, "blockIO throttleWriteBpsDevice", kThrottling);
    devices("blkio.throttle.read_iops_device", io.read_iops, "blockIO throttleReadIOPSDevice", kThrottling);
    devices("blkio.throttle.write_iops_device", io.write_iops, "blockIO throttleWriteIOPSDevice", kThrottling);
}

void add_network(std::vector<LimitWrite>& writes, const CgroupLimits& limits)
{
    if (limits.net_class_id)
        writes.push_back({.controller = "net_cls",
                          .file = "net_cls.classid",
                          .value = cat(*limits.net_class_id),
                          .what = "network class"});
    for (const auto& [interface, priority] : limits.net_priorities)
        writes.push_back({.controller = "net_prio",
                          .file = "net_prio.ifpriomap",
                          .value = cat(interface, ' ', priority),
                          .what = "network priority",
                          .content = Content::Line,
                          .key = interface,
                          .unset = interface + " 0"});
}

Result<> fill_cpuset(const std::string& directory, const char* file)
{
    const auto own = TRY(read_file(kCwd, cat(directory, '/', file), 4096));
    if (own != "\n" && !own.empty()) return {};
    const std::string parent = directory.substr(0, directory.find_last_of('/'));
    TRY(fill_cpuset(parent, file)); // it may be as new, and none allows more than the one above it
    const auto inherited = TRY(read_file(kCwd, cat(parent, '/', file), 4096));
    return with_context(
        write_control(kCwd, cat(directory, '/', file), std::string_view{inherited}.substr(0, inherited.find('\n'))),
        "prepare a cpuset");
}

} // namespace

std::vector<std::string> v1_controllers_for(const CgroupLimits& limits)
{
    std::vector<std::string> controllers;
    for (const LimitWrite& write : v1_writes(limits, false))
        if (controllers.empty() || controllers.back() != write.controller) controllers.push_back(write.controller);
    return controllers;
}

std::vector<LimitWrite> v1_writes(const CgroupLimits& limits, bool swap_first)
{
    std::vector<LimitWrite> writes;
    add_memory(writes, limits, swap_first);
    add_cpu(writes, limits);
    add_cpuset(writes, limits);
    if (limits.pids)
        writes.push_back({.controller = "pids",
                          .file = "pids.max",
                          .value = *limits.pids < 0 ? "max" : cat(*limits.pids),
                          .what = "processes"});
    add_io(writes, limits.io);
    add_huge_pages(writes, limits, "limit_in_bytes");
    add_network(writes, limits);
    add_rdma(writes, limits);
    return writes;
}

Result<> prepare_cpuset(const std::string& directory)
{
    TRY(fill_cpuset(directory, "cpuset.cpus"));
    return fill_cpuset(directory, "cpuset.mems");
}

} // namespace coppice::os::cgroup_files
