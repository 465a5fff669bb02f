#pragma once

#include "coppice/os/cgroup.h"
#include "coppice/os/fd.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace coppice::os {

/// What the kernel counts of one kind of memory, in bytes. UINT64_MAX as limit: none.
struct MemoryUse {
    std::uint64_t usage = 0, most = 0, limit = 0, failures = 0;
};

/// Counter of one block device; `operation` is empty where the kernel does not tell kinds apart.
struct IoCount {
    std::uint64_t major = 0, minor = 0;
    std::string operation;
    std::uint64_t value = 0;
};

/// Share of time in percent that something waited, over 10, 60 and 300 seconds, and the sum in microseconds.
struct Pressure {
    struct Line {
        double avg10 = 0, avg60 = 0, avg300 = 0;
        std::uint64_t total_us = 0;
    };
    Line some, full;
};

struct HugePageUse {
    std::uint64_t usage = 0, most = 0, failures = 0;
};

/// Statistics of a cgroup. What a host does not count is 0 or empty. Times are nanoseconds.
struct CgroupStats {
    struct {
        std::uint64_t total_ns = 0, user_ns = 0, kernel_ns = 0;
        std::vector<std::uint64_t> per_cpu_ns, per_cpu_user_ns, per_cpu_kernel_ns; ///< v1
        std::uint64_t periods = 0, throttled_periods = 0, throttled_ns = 0;
        std::optional<Pressure> pressure;
    } cpu;
    struct {
        std::vector<std::uint16_t> cpus, memory_nodes;
        std::map<std::string, std::int64_t> flags; ///< v1's other files by name: "cpu_exclusive", "memory_migrate"
    } cpuset;
    struct {
        std::uint64_t cache = 0;
        MemoryUse memory, swap, kernel, kernel_tcp;  ///< swap: memory and swap together
        std::map<std::string, std::uint64_t> counts; ///< memory.stat
        std::optional<Pressure> pressure;
    } memory;
    struct {
        std::uint64_t current = 0, limit = 0; ///< limit 0: none
    } pids;
    struct {
        std::vector<IoCount> bytes, operations;
        std::optional<Pressure> pressure;
    } io;
    std::map<std::string, HugePageUse> huge_pages; ///< by page size
};

/// Reads them. A file that is not there is no error, a content that cannot be understood is. Errors: Corrupt, Os
Result<CgroupStats> read_cgroup_stats(const CgroupPaths& paths);

/// "0-2,5" as numbers. Errors: Corrupt
Result<std::vector<std::uint16_t>> parse_cpu_list(std::string_view text);

/// Tells when processes of a cgroup ran out of memory: by cgroup.event_control on v1, by inotify on v2.
class OomWatch {
public:
    /// Errors: Unsupported (no memory controller there)
    static Result<OomWatch> open(const CgroupPaths& paths);
    /// Readable when `happened` may have something to say.
    [[nodiscard]] const Fd& fd() const { return fd_; }
    /// How often since the last call. Does not block.
    Result<std::uint64_t> happened();

private:
    Fd fd_, control_;
    std::string directory_;
    bool v2_ = false;
    std::uint64_t known_kills_ = 0; ///< v2
};

} // namespace coppice::os
