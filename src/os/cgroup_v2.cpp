#include "cgroup_files.h"
#include "coppice/base/text.h"
#include "coppice/os/file.h"

#include <algorithm>
#include <cerrno>

// cgroup v2: one hierarchy. Source: the kernel's Documentation/admin-guide/cgroup-v2.rst
namespace coppice::os::cgroup_files {

std::uint64_t weight_of_shares(std::uint64_t shares)
{
    const std::uint64_t within = std::min<std::uint64_t>(std::max<std::uint64_t>(shares, 2), 262144);
    return 1 + (within - 2) * 9999 / 262142;
}

namespace {

std::string number_or_max(std::int64_t value) { return value < 0 ? "max" : cat(value); }

/// v1 counts weights of block devices from 10 to 1000, v2 from 1 to 10000.
std::uint64_t io_weight_of(std::uint64_t weight)
{
    const std::uint64_t within = std::min<std::uint64_t>(std::max<std::uint64_t>(weight, 10), 1000);
    return 1 + (within - 10) * 9999 / 990;
}

std::unexpected<Error> v1_alone(const char* member)
{
    return fail(Error{ErrorKind::Unsupported, cat(member, " does not exist in cgroup v2")}.hint(
        "it needs a host whose controllers are mounted as cgroup v1"));
}

Result<> refuse_v1_alone(const CgroupLimits& limits)
{
    if (limits.memory_swappiness) return v1_alone("memory.swappiness");
    if (limits.oom_killer_off) return v1_alone("memory.disableOOMKiller");
    if (limits.cpu_rt_runtime_us) return v1_alone("cpu.realtimeRuntime");
    if (limits.cpu_rt_period_us) return v1_alone("cpu.realtimePeriod");
    if (limits.net_class_id) return v1_alone("network.classID");
    if (!limits.net_priorities.empty()) return v1_alone("network.priorities");
    if (limits.io.leaf_weight || !limits.io.device_leaf_weights.empty()) return v1_alone("blockIO.leafWeight");
    return {};
}

Result<> add_memory(std::vector<LimitWrite>& writes, const CgroupLimits& limits, const CgroupLimits& all)
{
    const bool none_at_all = limits.memory_bytes == -1 && !limits.memory_swap_bytes;
    // v2 counts swap alone, so a new limit of memory changes that of swap as well, if the two together stay the same.
    const bool swap_changes = limits.memory_swap_bytes || (limits.memory_bytes && all.memory_swap_bytes);
    if (none_at_all || swap_changes) {
        const std::int64_t both = none_at_all ? -1 : *all.memory_swap_bytes;
        const std::int64_t memory = all.memory_bytes.value_or(0);
        if (both >= 0 && (memory == 0 || memory > both))
            return fail(ErrorKind::Invalid, "a limit of memory and swap together needs a memory limit not above it");
        writes.push_back({.controller = "memory",
                          .file = "memory.swap.max",
                          .value = both < 0 ? "max" : cat(memory < 0 ? both : both - memory),
                          .what = "swap",
                          .skip_if_missing = true}); // a kernel without swap accounting has no swap to limit
    }
    if (limits.memory_bytes)
        writes.push_back({.controller = "memory",
                          .file = "memory.max",
                          .value = number_or_max(*limits.memory_bytes),
                          .what = "memory"});
    if (limits.memory_low_bytes)
        writes.push_back({.controller = "memory",
                          .file = "memory.low",
                          .value = number_or_max(*limits.memory_low_bytes),
                          .what = "memory reservation"});
    return {};
}

void add_cpu(std::vector<LimitWrite>& writes, const CgroupLimits& limits, const CgroupLimits& all)
{
    if (limits.cpu_idle)
        writes.push_back({.controller = "cpu",
                          .file = "cpu.idle",
                          .value = cat(*limits.cpu_idle),
                          .what = "CPU idle",
                          .kernel_need = "Linux 5.15",
                          .skip_if_missing = *limits.cpu_idle == 0});
    if (limits.cpu_shares)
        writes.push_back({.controller = "cpu",
                          .file = "cpu.weight",
                          .value = cat(weight_of_shares(*limits.cpu_shares)),
                          .what = "CPU weight"});
    if (limits.cpu_burst_us)
        writes.push_back({.controller = "cpu",
                          .file = "cpu.max.burst",
                          .value = cat(*limits.cpu_burst_us),
                          .what = "CPU burst",
                          .kernel_need = "Linux 5.14",
                          .skip_if_missing = *limits.cpu_burst_us == 0,
                          .may_wait = true});
    if (limits.cpu_quota_us || limits.cpu_period_us)
        writes.push_back(
            {.controller = "cpu",
             .file = "cpu.max",
             .value = cat(number_or_max(all.cpu_quota_us.value_or(-1)), ' ', all.cpu_period_us.value_or(100'000)),
             .what = "CPU quota"});
}

void add_io(std::vector<LimitWrite>& writes, const IoLimits& io)
{
    constexpr const char* kWeights = "the scheduler BFQ or the io.cost controller";
    if (io.weight) {
        // BFQ counts as v1 does; the io.cost controller has v2's own scale.
        writes.push_back({.controller = "io",
                          .file = "io.bfq.weight",
                          .value = cat(*io.weight),
                          .what = "blockIO weight",
                          .kernel_need = kWeights,
                          .other_file = "io.weight",
                          .other_value = cat(io_weight_of(*io.weight)),
                          .content = Content::Line,
                          .key = "default",
                          .unset = "default 100"});
    }
    for (const DeviceNumber& device : io.device_weights) {
        const std::string key = cat(device.major, ':', device.minor);
        writes.push_back({.controller = "io",
                          .file = "io.bfq.weight",
                          .value = cat(key, ' ', device.value),
                          .what = "blockIO weightDevice",
                          .kernel_need = kWeights,
                          .other_file = "io.weight",
                          .other_value = cat(key, ' ', io_weight_of(device.value)),
                          .content = Content::Line,
                          .key = key,
                          .unset = key + " default"});
    }
    const auto throttle = [&writes](const std::vector<DeviceNumber>& numbers, const char* what, const char* member) {
        for (const DeviceNumber& device : numbers) {
            const std::string key = cat(device.major, ':', device.minor);
            writes.push_back({.controller = "io",
                              .file = "io.max",
                              .value = cat(key, ' ', what, '=', device.value == 0 ? "max" : cat(device.value)),
                              .what = member,
                              .kernel_need = "CONFIG_BLK_DEV_THROTTLING",
                              .content = Content::Line,
                              .key = key,
                              .unset = cat(key, ' ', what, "=max")});
        }
    };
    throttle(io.read_bps, "rbps", "blockIO throttleReadBpsDevice");
    throttle(io.write_bps, "wbps", "blockIO throttleWriteBpsDevice");
    throttle(io.read_iops, "riops", "blockIO throttleReadIOPSDevice");
    throttle(io.write_iops, "wiops", "blockIO throttleWriteIOPSDevice");
}

Result<> add_unified(std::vector<LimitWrite>& writes, const CgroupLimits& limits)
{
    for (const auto& [file, value] : limits.unified) {
        const auto dot = file.find('.');
        if (file.find('/') != std::string::npos || dot == std::string::npos)
            return fail(ErrorKind::Invalid, cat("'", file, "' is not the name of a cgroup v2 file"));
        LimitWrite write{.controller = file.substr(0, dot), .file = file, .value = value, .what = file};
        // "8:0 rbps=1": a file with a line per device
        if (const auto space = value.find(' ');
            space != std::string::npos && value.find_first_of(":=") < value.size()) {
            write.content = Content::Line;
            write.key = value.substr(0, space);
        }
        writes.push_back(std::move(write));
    }
    return {};
}

} // namespace

Result<std::vector<std::string>> v2_controllers_for(const CgroupLimits& limits)
{
    std::vector<std::string> controllers;
    for (const LimitWrite& write : TRY(v2_writes(limits, limits)))
        if (write.controller != "cgroup" && (controllers.empty() || controllers.back() != write.controller))
            controllers.push_back(write.controller);
    return controllers;
}

Result<std::string> v2_root_controllers(const std::string& mount)
{
    auto text = TRY(read_file(kCwd, mount + "/cgroup.controllers", 4096));
    while (text.ends_with('\n'))
        text.pop_back();
    return text;
}

Result<> enable_v2_controllers(const std::string& directory, const std::vector<std::string>& needed,
                               const std::vector<std::string>& wished)
{
    std::vector<std::string> above; // from the nearest to the root of the hierarchy
    for (std::string path = directory;;) {
        path.resize(path.find_last_of('/'));
        if (!exists(kCwd, path + "/cgroup.controllers")) break;
        above.push_back(path);
    }
    for (auto path = above.rbegin(); path != above.rend(); ++path) {
        auto enabled = cat(' ', TRY(read_file(kCwd, *path + "/cgroup.subtree_control", 4096)), ' ');
        std::replace(enabled.begin(), enabled.end(), '\n', ' '); // "cpu" is not "cpuset": whole words only
        const auto enable = [&](const std::string& controller) -> Result<> {
            if (enabled.find(cat(' ', controller, ' ')) != std::string::npos) return {};
            const auto wrote = write_control(kCwd, *path + "/cgroup.subtree_control", cat('+', controller));
            if (wrote) {
                enabled += controller + ' ';
                return {};
            }
            Error error =
                Error::os(wrote.error().os_errno(), cat("switch the cgroup controller ", controller, " on in ", *path));
            if (wrote.error().os_errno() == EBUSY)
                error = std::move(error).hint("processes sit in that cgroup itself; move them into a child of it");
            if (wrote.error().os_errno() == ENOENT)
                error =
                    std::move(error).as(ErrorKind::Unsupported).hint("the controller was not delegated to this cgroup");
            return fail(std::move(error));
        };
        for (const std::string& controller : needed)
            TRY(enable(controller));
        for (const std::string& controller : wished)
            if (!enable(controller)) break; // nobody asked for it: then there are no statistics of it
    }
    return {};
}

Result<std::vector<LimitWrite>> v2_writes(const CgroupLimits& limits, const CgroupLimits& all)
{
    TRY(refuse_v1_alone(limits));
    std::vector<LimitWrite> writes;
    TRY(add_memory(writes, limits, all));
    add_cpu(writes, limits, all);
    add_cpuset(writes, limits);
    if (limits.pids)
        writes.push_back(
            {.controller = "pids", .file = "pids.max", .value = number_or_max(*limits.pids), .what = "processes"});
    add_io(writes, limits.io);
    add_huge_pages(writes, limits, "max");
    add_rdma(writes, limits);
    TRY(add_unified(writes, limits));
    return writes;
}

} // namespace coppice::os::cgroup_files
