#include "cgroup_files.h"
#include "coppice/base/text.h"
#include "coppice/os/file.h"

#include <cerrno>

// cgroup v1: a hierarchy per controller. Source: the kernel's Documentation/admin-guide/cgroup-v1/
namespace coppice::os::cgroup_files {

namespace {

bool has_cpu(const CgroupLimits& limits) { return limits.cpu_quota_us || limits.cpu_period_us || limits.cpu_shares; }

Result<> apply_memory(const std::string& directory, const CgroupLimits& limits)
{
    if (limits.memory_bytes) TRY(write_limit(directory, "memory.limit_in_bytes", cat(*limits.memory_bytes), "memory"));
    if (limits.memory_low_bytes)
        TRY(write_limit(directory, "memory.soft_limit_in_bytes", cat(*limits.memory_low_bytes), "memory reservation"));
    if (limits.memory_swap_bytes && exists(kCwd, directory + "/memory.memsw.limit_in_bytes"))
        TRY(write_limit(directory, "memory.memsw.limit_in_bytes", cat(*limits.memory_swap_bytes), "memory and swap"));
    return {};
}

Result<> apply_cpu(const std::string& directory, const CgroupLimits& limits)
{
    if (limits.cpu_shares) TRY(write_limit(directory, "cpu.shares", cat(*limits.cpu_shares), "CPU shares"));
    if (limits.cpu_period_us)
        TRY(write_limit(directory, "cpu.cfs_period_us", cat(*limits.cpu_period_us), "CPU period"));
    if (limits.cpu_quota_us) TRY(write_limit(directory, "cpu.cfs_quota_us", cat(*limits.cpu_quota_us), "CPU quota"));
    return {};
}

/// A new v1 cpuset is empty, takes no process until both of its lists are filled, and allows no more than the one above
/// it, which may be as new: an empty one gets the list of its parent, from the top down.
Result<> fill_cpuset(const std::string& directory, const char* file, const std::optional<std::string>& wanted)
{
    const auto own = TRY(read_file(kCwd, cat(directory, '/', file), 4096));
    if (own == "\n" || own.empty()) {
        const std::string parent = directory.substr(0, directory.find_last_of('/'));
        TRY(fill_cpuset(parent, file, std::nullopt));
        const auto inherited = TRY(read_file(kCwd, cat(parent, '/', file), 4096));
        if (!wanted) return write_limit(directory, file, inherited.substr(0, inherited.find('\n')), file);
    }
    return wanted ? write_limit(directory, file, *wanted, file) : Result<>{};
}

} // namespace

std::vector<std::string> v1_controllers_for(const CgroupLimits& limits)
{
    std::vector<std::string> controllers;
    if (limits.memory_bytes || limits.memory_swap_bytes || limits.memory_low_bytes) controllers.emplace_back("memory");
    if (has_cpu(limits)) controllers.emplace_back("cpu");
    if (limits.pids) controllers.emplace_back("pids");
    if (limits.cpuset_cpus || limits.cpuset_mems) controllers.emplace_back("cpuset");
    return controllers;
}

Result<> apply_v1(const std::map<std::string, std::string>& directories, const CgroupLimits& limits)
{
    if (const auto memory = directories.find("memory"); memory != directories.end())
        TRY(apply_memory(memory->second, limits));
    if (const auto cpu = directories.find("cpu"); cpu != directories.end()) TRY(apply_cpu(cpu->second, limits));
    if (const auto cpuset = directories.find("cpuset"); cpuset != directories.end()) {
        TRY(fill_cpuset(cpuset->second, "cpuset.cpus", limits.cpuset_cpus));
        TRY(fill_cpuset(cpuset->second, "cpuset.mems", limits.cpuset_mems));
    }
    if (limits.pids)
        if (const auto pids = directories.find("pids"); pids != directories.end())
            TRY(write_limit(pids->second, "pids.max", *limits.pids < 0 ? "max" : cat(*limits.pids), "processes"));
    return {};
}

} // namespace coppice::os::cgroup_files
