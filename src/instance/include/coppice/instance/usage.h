#pragma once

#include "coppice/instance/store.h"
#include "coppice/os/cgroup_stats.h"

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

/// What running instances take of the host: read from the kernel, without anybody's help.
namespace coppice::instance {

/// One sample. Empty is what this host does not count, and a limit that there is not. Sizes are in bytes.
struct Usage {
    std::uint64_t time_ns = 0; ///< when, from some time on that never changes
    std::optional<std::uint64_t> cpu_ns;
    std::optional<std::uint64_t> memory; ///< without the files that the kernel would drop first
    std::optional<std::uint64_t> memory_limit, swap, processes, process_limit, read_bytes, written_bytes;
};

/// Errors: NotFound, Conflict (it does not run)
Result<Usage> read_usage(const InstanceStore& store, const std::string& name);

/// Which of it a cgroup has files for; where it has none, os::CgroupStats says 0.
struct Counted {
    bool cpu = false, memory = false, swap = false, processes = false, io = false;
};
/// Pure.
Usage usage_of(const os::CgroupStats& stats, const Counted& counted, std::uint64_t time_ns);

/// Of one processor, in percent. Empty when there is nothing to compare.
std::optional<double> cpu_percent(const Usage& before, const Usage& now);
/// Of its limit.
std::optional<double> memory_percent(const Usage& usage);

/// For the API: null is what is empty.
nlohmann::json to_json(const Usage& usage);

} // namespace coppice::instance
