#include "coppice/instance/usage.h"

#include "coppice/base/text.h"
#include "coppice/instance/look.h"
#include "coppice/os/file.h"

#include <ctime>
#include <nlohmann/json.hpp>

namespace coppice::instance {

namespace {

constexpr std::uint64_t kNsPerSecond = 1'000'000'000;
constexpr std::uint64_t kNoLimit = 1ULL << 62; // v1 says "none" by the largest multiple of a page

std::uint64_t clock_ns(clockid_t clock)
{
    timespec time{};
    ::clock_gettime(clock, &time);
    return static_cast<std::uint64_t>(time.tv_sec) * kNsPerSecond + static_cast<std::uint64_t>(time.tv_nsec);
}

Counted counted_in(const os::CgroupPaths& paths)
{
    const auto has = [&paths](const char* controller, const char* v1_file, const char* v2_file) {
        if (paths.v1.empty()) return os::exists(os::kCwd, cat(paths.v2, '/', v2_file));
        const auto found = paths.v1.find(controller);
        return found != paths.v1.end() && os::exists(os::kCwd, cat(found->second, '/', v1_file));
    };
    return {.cpu = has("cpuacct", "cpuacct.usage", "cpu.stat"),
            .memory = has("memory", "memory.usage_in_bytes", "memory.current"),
            .swap = has("memory", "memory.memsw.usage_in_bytes", "memory.swap.current"),
            .processes = !paths.empty(),
            .io = has("blkio", "blkio.throttle.io_service_bytes", "io.stat") ||
                  has("blkio", "blkio.bfq.io_service_bytes_recursive", "io.stat")};
}

std::uint64_t less(std::uint64_t from, std::uint64_t what) { return from > what ? from - what : 0; }

/// What the kernel would give back at once. v1 counts what is below in a line of its own.
std::uint64_t droppable(const os::CgroupStats& stats)
{
    for (const char* const line : {"total_inactive_file", "inactive_file"})
        if (const auto found = stats.memory.counts.find(line); found != stats.memory.counts.end()) return found->second;
    return 0;
}

std::uint64_t bytes_of(const os::CgroupStats& stats, std::string_view operation)
{
    std::uint64_t sum = 0;
    for (const os::IoCount& count : stats.io.bytes)
        if (count.operation == operation) sum += count.value;
    return sum;
}

template <typename T> nlohmann::json or_null(const std::optional<T>& value)
{
    return value ? nlohmann::json(*value) : nlohmann::json{};
}

} // namespace

Usage usage_of(const os::CgroupStats& stats, const Counted& counted, std::uint64_t time_ns)
{
    Usage usage;
    usage.time_ns = time_ns;
    if (counted.cpu) usage.cpu_ns = stats.cpu.total_ns;
    const os::MemoryUse& memory = stats.memory.memory;
    if (counted.memory) usage.memory = less(memory.usage, droppable(stats));
    if (counted.memory && memory.limit < kNoLimit) usage.memory_limit = memory.limit;
    if (counted.swap) usage.swap = less(stats.memory.swap.usage, memory.usage);
    if (counted.processes) usage.processes = stats.pids.current;
    if (counted.processes && stats.pids.limit != 0) usage.process_limit = stats.pids.limit;
    if (counted.io) {
        usage.read_bytes = bytes_of(stats, "Read");
        usage.written_bytes = bytes_of(stats, "Write");
    }
    return usage;
}

Result<Usage> read_usage(const InstanceStore& store, const std::string& name)
{
    const auto record = TRY(running_record(store, name));
    const auto stats = TRY_DOING(cat("statistics of ", name), os::read_cgroup_stats(record.cgroup));
    return usage_of(stats, counted_in(record.cgroup), clock_ns(CLOCK_MONOTONIC));
}

std::optional<double> cpu_percent(const Usage& before, const Usage& now)
{
    if (!before.cpu_ns || !now.cpu_ns || now.time_ns <= before.time_ns || *now.cpu_ns < *before.cpu_ns) return {};
    return 100.0 * static_cast<double>(*now.cpu_ns - *before.cpu_ns) /
           static_cast<double>(now.time_ns - before.time_ns);
}

std::optional<double> memory_percent(const Usage& usage)
{
    if (!usage.memory || usage.memory_limit.value_or(0) == 0) return {};
    return 100.0 * static_cast<double>(*usage.memory) / static_cast<double>(*usage.memory_limit);
}

nlohmann::json to_json(const Usage& usage)
{
    return {{"timeNs", usage.time_ns},
            {"cpuNs", or_null(usage.cpu_ns)},
            {"memoryBytes", or_null(usage.memory)},
            {"memoryLimitBytes", or_null(usage.memory_limit)},
            {"memoryPercent", or_null(memory_percent(usage))},
            {"swapBytes", or_null(usage.swap)},
            {"processes", or_null(usage.processes)},
            {"processLimit", or_null(usage.process_limit)},
            {"blockReadBytes", or_null(usage.read_bytes)},
            {"blockWrittenBytes", or_null(usage.written_bytes)}};
}

} // namespace coppice::instance
