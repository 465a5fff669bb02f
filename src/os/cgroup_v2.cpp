#include "cgroup_files.h"
#include "coppice/base/text.h"
#include "coppice/os/file.h"

#include <algorithm>
#include <cerrno>

// cgroup v2: one hierarchy. Source: the kernel's Documentation/admin-guide/cgroup-v2.rst
namespace coppice::os::cgroup_files {

namespace {

std::string number_or_max(std::int64_t value) { return value < 0 ? "max" : cat(value); }

/// v1 counts CPU shares from 2 to 262144, v2 weights from 1 to 10000. Source: runtime-spec's recommended conversion
std::uint64_t weight_of_shares(std::uint64_t shares)
{
    const std::uint64_t within = std::min<std::uint64_t>(std::max<std::uint64_t>(shares, 2), 262144);
    return 1 + (within - 2) * 9999 / 262142;
}

Result<> apply_memory(const std::string& directory, const CgroupLimits& limits)
{
    if (limits.memory_bytes) TRY(write_limit(directory, "memory.max", number_or_max(*limits.memory_bytes), "memory"));
    if (limits.memory_low_bytes)
        TRY(write_limit(directory, "memory.low", number_or_max(*limits.memory_low_bytes), "memory reservation"));
    if (!limits.memory_swap_bytes) return {};
    const std::int64_t both = *limits.memory_swap_bytes;
    if (both >= 0 && (!limits.memory_bytes || *limits.memory_bytes < 0 || *limits.memory_bytes > both))
        return fail(ErrorKind::Invalid, "a limit of memory and swap together needs a memory limit not above it");
    if (!exists(kCwd, directory + "/memory.swap.max"))
        return {}; // a kernel without swap accounting has no swap to limit
    return write_limit(directory, "memory.swap.max", both < 0 ? "max" : cat(both - *limits.memory_bytes), "swap");
}

} // namespace

std::vector<std::string> v2_controllers_for(const CgroupLimits& limits)
{
    std::vector<std::string> controllers;
    if (limits.memory_bytes || limits.memory_swap_bytes || limits.memory_low_bytes) controllers.emplace_back("memory");
    if (limits.cpu_quota_us || limits.cpu_period_us || limits.cpu_shares) controllers.emplace_back("cpu");
    if (limits.pids) controllers.emplace_back("pids");
    if (limits.cpuset_cpus || limits.cpuset_mems) controllers.emplace_back("cpuset");
    for (const auto& [file, value] : limits.unified) {
        const std::string controller = file.substr(0, file.find('.'));
        if (controller != "cgroup") controllers.push_back(controller);
    }
    return controllers;
}

Result<std::string> v2_root_controllers(const std::string& mount)
{
    auto text = TRY(read_file(kCwd, mount + "/cgroup.controllers", 4096));
    while (text.ends_with('\n'))
        text.pop_back();
    return text;
}

Result<> enable_v2_controllers(const std::string& directory, const std::vector<std::string>& controllers)
{
    if (controllers.empty()) return {};
    std::vector<std::string> above; // from the nearest to the root of the hierarchy
    for (std::string path = directory;;) {
        path.resize(path.find_last_of('/'));
        if (!exists(kCwd, path + "/cgroup.controllers")) break;
        above.push_back(path);
    }
    for (auto path = above.rbegin(); path != above.rend(); ++path) {
        auto enabled = cat(' ', TRY(read_file(kCwd, *path + "/cgroup.subtree_control", 4096)), ' ');
        std::replace(enabled.begin(), enabled.end(), '\n', ' '); // "cpu" is not "cpuset": whole words only
        for (const std::string& controller : controllers) {
            if (enabled.find(cat(' ', controller, ' ')) != std::string::npos) continue;
            const auto wrote = write_control(kCwd, *path + "/cgroup.subtree_control", cat('+', controller));
            if (wrote) continue;
            Error error =
                Error::os(wrote.error().os_errno(), cat("switch the cgroup controller ", controller, " on in ", *path));
            if (wrote.error().os_errno() == EBUSY)
                error = std::move(error).hint("processes sit in that cgroup itself; move them into a child of it");
            if (wrote.error().os_errno() == ENOENT)
                error =
                    std::move(error).as(ErrorKind::Unsupported).hint("the controller was not delegated to this cgroup");
            return fail(std::move(error));
        }
    }
    return {};
}

Result<> apply_v2(const std::string& directory, const CgroupLimits& limits)
{
    TRY(apply_memory(directory, limits));
    if (limits.cpu_shares)
        TRY(write_limit(directory, "cpu.weight", cat(weight_of_shares(*limits.cpu_shares)), "CPU weight"));
    if (limits.cpu_quota_us || limits.cpu_period_us)
        TRY(write_limit(
            directory, "cpu.max",
            cat(number_or_max(limits.cpu_quota_us.value_or(-1)), ' ', limits.cpu_period_us.value_or(100'000)),
            "CPU quota"));
    if (limits.cpuset_cpus) TRY(write_limit(directory, "cpuset.cpus", *limits.cpuset_cpus, "CPU set"));
    if (limits.cpuset_mems) TRY(write_limit(directory, "cpuset.mems", *limits.cpuset_mems, "memory node set"));
    if (limits.pids) TRY(write_limit(directory, "pids.max", number_or_max(*limits.pids), "processes"));
    for (const auto& [file, value] : limits.unified) {
        if (file.find('/') != std::string::npos || file.find('.') == std::string::npos)
            return fail(ErrorKind::Invalid, cat("'", file, "' is not the name of a cgroup v2 file"));
        TRY(write_limit(directory, file.c_str(), value, file.c_str()));
    }
    return {};
}

} // namespace coppice::os::cgroup_files
