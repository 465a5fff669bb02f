#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace coppice::os {

/// A number for one block device.
struct DeviceNumber {
    std::uint64_t major = 0, minor = 0;
    std::uint64_t value = 0;
    bool operator==(const DeviceNumber&) const = default;
};

/// Limits of block devices, in v1's terms as OCI has them.
struct IoLimits {
    std::optional<std::uint64_t> weight, leaf_weight; ///< 10 to 1000
    std::vector<DeviceNumber> device_weights, device_leaf_weights;
    std::vector<DeviceNumber> read_bps, write_bps;   ///< bytes per second
    std::vector<DeviceNumber> read_iops, write_iops; ///< operations per second
    bool operator==(const IoLimits&) const = default;
};

/// How many objects of an RDMA device may be in use.
struct RdmaLimit {
    std::optional<std::uint32_t> handles, objects;
    bool operator==(const RdmaLimit&) const = default;
};

/// Limits of a cgroup; what is empty is left alone. Values are the kernel's; -1 means "no limit" where noted.
struct CgroupLimits {
    std::optional<std::int64_t> memory_bytes = {};      ///< -1 none
    std::optional<std::int64_t> memory_swap_bytes = {}; ///< memory and swap together, as v1 and OCI count; -1 none
    std::optional<std::int64_t> memory_low_bytes = {};  ///< soft limit (OCI `reservation`); -1 none
    std::optional<std::int64_t> pids = {};              ///< -1 none
    std::optional<std::uint64_t> cpu_shares = {};       ///< v1 shares, 2 to 262144; converted to a v2 weight
    std::optional<std::int64_t> cpu_quota_us = {};      ///< per period; -1 none
    std::optional<std::uint64_t> cpu_period_us = {};    ///< default 100,000
    std::optional<std::string> cpuset_cpus = {}, cpuset_mems = {};
    std::map<std::string, std::string> unified = {}; ///< v2 files verbatim (OCI `unified`)

    std::optional<std::uint64_t> memory_swappiness = {}; ///< 0 to 100; v1 alone
    bool oom_killer_off = false;                         ///< v1 alone
    bool memory_hierarchy = false;                       ///< v1: ask for what newer kernels and v2 always do
    bool check_memory_use = false;                       ///< refuse a memory limit below what is in use
    std::optional<std::uint64_t> cpu_burst_us = {};
    std::optional<std::int64_t> cpu_rt_runtime_us = {}; ///< v1 alone; -1 none
    std::optional<std::uint64_t> cpu_rt_period_us = {}; ///< v1 alone
    std::optional<std::int64_t> cpu_idle = {};          ///< 1: runs only when nobody else wants to
    IoLimits io = {};
    std::map<std::string, std::uint64_t> huge_pages = {};     ///< bytes by page size, as the kernel writes it: "2MB"
    std::optional<std::uint32_t> net_class_id = {};           ///< v1 alone
    std::map<std::string, std::uint32_t> net_priorities = {}; ///< by interface; v1 alone
    std::map<std::string, RdmaLimit> rdma = {};               ///< by device
    bool operator==(const CgroupLimits&) const = default;
};

} // namespace coppice::os
