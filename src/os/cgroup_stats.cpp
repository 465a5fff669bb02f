#include "coppice/os/cgroup_stats.h"

#include "cgroup_files.h"
#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "coppice/os/file.h"

#include <array>
#include <cerrno>
#include <charconv>
#include <unistd.h>

namespace coppice::os {

using namespace cgroup_files;

namespace {

constexpr std::size_t kFileMaxBytes = 1U << 20;
constexpr std::uint64_t kNsPerUs = 1000;

/// Content; empty when the file is not there: a host without that controller, or a kernel that does not count it.
Result<std::string> text_of(const std::string& path)
{
    auto text = read_file(kCwd, path, kFileMaxBytes);
    if (text) return text;
    const int number = text.error().os_errno();
    if (number == ENOENT || number == ENODEV || number == EOPNOTSUPP) return std::string{};
    return fail(std::move(text).error());
}

Result<std::uint64_t> to_number(std::string_view text, const std::string& path)
{
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || end != text.data() + text.size())
        return fail(ErrorKind::Corrupt, cat(path, ": '", printable(text), "' is not a number"));
    return number;
}

/// The number of a file that holds one, "max" being UINT64_MAX; `otherwise` when the file is not there.
Result<std::uint64_t> number_in(const std::string& path, std::uint64_t otherwise = 0)
{
    const auto text = TRY(text_of(path));
    if (text.empty()) return otherwise;
    const auto line = std::string_view{text}.substr(0, text.find('\n'));
    if (line == "max") return UINT64_MAX;
    if (line.starts_with('-')) return otherwise;
    return to_number(line, path);
}

/// "name number" lines.
Result<std::map<std::string, std::uint64_t>> counts_in(const std::string& path)
{
    std::map<std::string, std::uint64_t> counts;
    const auto text = TRY(text_of(path));
    for (const auto line : split(text, '\n'))
        if (const auto words = words_of(line); words.size() == 2)
            counts[std::string{words[0]}] = TRY(to_number(words[1], path));
    return counts;
}

std::uint64_t count(const std::map<std::string, std::uint64_t>& counts, const char* name)
{
    const auto found = counts.find(name);
    return found == counts.end() ? 0 : found->second;
}

/// Source: the kernel's Documentation/accounting/psi.rst
Result<std::optional<Pressure>> pressure_in(const std::string& path)
{
    const auto text = TRY(text_of(path));
    if (text.empty()) return std::optional<Pressure>{};
    Pressure pressure;
    for (const auto line : split(text, '\n')) {
        const auto words = words_of(line);
        if (words.empty()) continue;
        Pressure::Line& into = words[0] == "full" ? pressure.full : pressure.some;
        for (const auto word : words) {
            const auto equals = word.find('=');
            if (equals == std::string_view::npos) continue;
            const auto name = word.substr(0, equals);
            const auto value = word.substr(equals + 1);
            if (name == "total") into.total_us = TRY(to_number(value, path));
            double* const average = name == "avg10"    ? &into.avg10
                                    : name == "avg60"  ? &into.avg60
                                    : name == "avg300" ? &into.avg300
                                                       : nullptr;
            if (average != nullptr) std::from_chars(value.data(), value.data() + value.size(), *average);
        }
    }
    return std::optional{pressure};
}

// --- v1

Result<MemoryUse> v1_memory_use(const std::string& directory, const char* kind)
{
    const std::string prefix = cat(directory, "/memory.", kind);
    MemoryUse use;
    use.usage = TRY(number_in(prefix + "usage_in_bytes"));
    use.most = TRY(number_in(prefix + "max_usage_in_bytes"));
    use.failures = TRY(number_in(prefix + "failcnt"));
    use.limit = TRY(number_in(prefix + "limit_in_bytes"));
    return use;
}

Result<> v1_memory(const std::string& directory, CgroupStats& stats)
{
    stats.memory.counts = TRY(counts_in(directory + "/memory.stat"));
    stats.memory.cache = count(stats.memory.counts, "cache");
    stats.memory.memory = TRY(v1_memory_use(directory, ""));
    stats.memory.swap = TRY(v1_memory_use(directory, "memsw."));
    stats.memory.kernel = TRY(v1_memory_use(directory, "kmem."));
    stats.memory.kernel_tcp = TRY(v1_memory_use(directory, "kmem.tcp."));
    return {};
}

Result<> v1_cpu_time(const std::string& directory, CgroupStats& stats)
{
    stats.cpu.total_ns = TRY(number_in(directory + "/cpuacct.usage"));
    const auto ticks = TRY(counts_in(directory + "/cpuacct.stat"));
    const auto ns_per_tick = 1'000'000'000U / static_cast<std::uint64_t>(std::max(::sysconf(_SC_CLK_TCK), 1L));
    stats.cpu.user_ns = count(ticks, "user") * ns_per_tick;
    stats.cpu.kernel_ns = count(ticks, "system") * ns_per_tick;
    const std::string per_cpu = directory + "/cpuacct.usage_percpu";
    const auto line = TRY(text_of(per_cpu));
    for (const auto word : words_of(std::string_view{line}.substr(0, line.find('\n'))))
        stats.cpu.per_cpu_ns.push_back(TRY(to_number(word, per_cpu)));
    const std::string all = directory + "/cpuacct.usage_all"; // "cpu user system" below a heading
    const auto text = TRY(text_of(all));
    for (const auto row : split(text, '\n')) {
        const auto words = words_of(row);
        if (words.size() < 3 || words[0] == "cpu") continue;
        stats.cpu.per_cpu_user_ns.push_back(TRY(to_number(words[1], all)));
        stats.cpu.per_cpu_kernel_ns.push_back(TRY(to_number(words[2], all)));
    }
    return {};
}

Result<> v1_cpuset(const std::string& directory, CgroupStats& stats)
{
    stats.cpuset.cpus = TRY(parse_cpu_list(TRY(text_of(directory + "/cpuset.cpus"))));
    stats.cpuset.memory_nodes = TRY(parse_cpu_list(TRY(text_of(directory + "/cpuset.mems"))));
    for (const char* const flag :
         {"cpu_exclusive", "mem_hardwall", "mem_exclusive", "memory_migrate", "memory_spread_page",
          "memory_spread_slab", "memory_pressure", "sched_load_balance", "sched_relax_domain_level"}) {
        const auto text = TRY(text_of(cat(directory, "/cpuset.", flag)));
        if (!text.empty())
            stats.cpuset.flags[flag] =
                TRY_DOING(flag, parse_integer(std::string_view{text}.substr(0, text.find('\n')), INT64_MIN, INT64_MAX));
    }
    return {};
}

/// "8:0 Read 4096" lines; the sums in between are left out.
Result<std::vector<IoCount>> v1_io_counts(const std::string& path)
{
    std::vector<IoCount> counts;
    const auto text = TRY(text_of(path));
    for (const auto line : split(text, '\n')) {
        const auto words = words_of(line);
        const auto colon = words.empty() ? std::string_view::npos : words[0].find(':');
        if (words.size() < 2 || colon == std::string_view::npos) continue;
        IoCount one;
        one.major = TRY(to_number(words[0].substr(0, colon), path));
        one.minor = TRY(to_number(words[0].substr(colon + 1), path));
        if (words.size() > 2) one.operation = words[1];
        one.value = TRY(to_number(words.back(), path));
        counts.push_back(std::move(one));
    }
    return counts;
}

/// The first of the kernel's counters that has counted something: the one of BFQ where it schedules, else throttling's.
Result<std::vector<IoCount>> v1_first_counts(const std::string& directory, const std::array<const char*, 3>& files)
{
    for (const char* const file : files)
        if (auto counts = TRY(v1_io_counts(cat(directory, '/', file))); !counts.empty()) return counts;
    return std::vector<IoCount>{};
}

Result<> v1_io(const std::string& directory, CgroupStats& stats)
{
    stats.io.bytes = TRY(
        v1_first_counts(directory, {"blkio.bfq.io_service_bytes_recursive", "blkio.throttle.io_service_bytes_recursive",
                                    "blkio.throttle.io_service_bytes"}));
    stats.io.operations =
        TRY(v1_first_counts(directory, {"blkio.bfq.io_serviced_recursive", "blkio.throttle.io_serviced_recursive",
                                        "blkio.throttle.io_serviced"}));
    return {};
}

// --- v2

Result<> v2_cpu(const std::string& directory, CgroupStats& stats)
{
    const auto counts = TRY(counts_in(directory + "/cpu.stat"));
    stats.cpu.total_ns = count(counts, "usage_usec") * kNsPerUs;
    stats.cpu.user_ns = count(counts, "user_usec") * kNsPerUs;
    stats.cpu.kernel_ns = count(counts, "system_usec") * kNsPerUs;
    stats.cpu.periods = count(counts, "nr_periods");
    stats.cpu.throttled_periods = count(counts, "nr_throttled");
    stats.cpu.throttled_ns = count(counts, "throttled_usec") * kNsPerUs;
    stats.cpu.pressure = TRY(pressure_in(directory + "/cpu.pressure"));
    return {};
}

Result<> v2_memory(const std::string& directory, CgroupStats& stats)
{
    stats.memory.counts = TRY(counts_in(directory + "/memory.stat"));
    stats.memory.cache = count(stats.memory.counts, "file");
    MemoryUse& memory = stats.memory.memory;
    memory.usage = TRY(number_in(directory + "/memory.current"));
    memory.most = TRY(number_in(directory + "/memory.peak"));
    memory.limit = TRY(number_in(directory + "/memory.max"));
    memory.failures = count(TRY(counts_in(directory + "/memory.events")), "max");
    // v1 counts memory and swap together; so do those who read this.
    MemoryUse& both = stats.memory.swap;
    both.usage = memory.usage + TRY(number_in(directory + "/memory.swap.current"));
    const auto swap_limit = TRY(number_in(directory + "/memory.swap.max"));
    both.limit = swap_limit == UINT64_MAX || memory.limit == UINT64_MAX ? UINT64_MAX : memory.limit + swap_limit;
    stats.memory.pressure = TRY(pressure_in(directory + "/memory.pressure"));
    return {};
}

/// "8:0 rbytes=1 wbytes=2 rios=3 ..." lines
Result<> v2_io(const std::string& directory, CgroupStats& stats)
{
    const std::string path = directory + "/io.stat";
    const auto text = TRY(text_of(path));
    for (const auto line : split(text, '\n')) {
        const auto words = words_of(line);
        const auto colon = words.empty() ? std::string_view::npos : words[0].find(':');
        if (words.size() < 2 || colon == std::string_view::npos) continue;
        for (const auto word : words) {
            const auto equals = word.find('=');
            const auto name = word.substr(0, equals);
            if (name != "rbytes" && name != "wbytes" && name != "rios" && name != "wios") continue;
            IoCount one;
            one.major = TRY(to_number(words[0].substr(0, colon), path));
            one.minor = TRY(to_number(words[0].substr(colon + 1), path));
            one.operation = name.starts_with('r') ? "Read" : "Write";
            one.value = TRY(to_number(word.substr(equals + 1), path));
            (name.ends_with("bytes") ? stats.io.bytes : stats.io.operations).push_back(std::move(one));
        }
    }
    stats.io.pressure = TRY(pressure_in(directory + "/io.pressure"));
    return {};
}

// --- both

Result<> read_pids(const CgroupPaths& paths, CgroupStats& stats)
{
    const std::string directory = directory_of(paths, "pids");
    const std::string current = directory + "/pids.current";
    if (directory.empty() || !exists(kCwd, current)) {
        stats.pids.current = TRY(processes_in(paths)).size();
        return {};
    }
    stats.pids.current = TRY(number_in(current));
    const auto limit = TRY(number_in(directory + "/pids.max"));
    stats.pids.limit = limit == UINT64_MAX ? 0 : limit;
    return {};
}

Result<> read_huge_pages(const std::string& directory, bool v2, CgroupStats& stats)
{
    const auto names = list_directory(kCwd, directory);
    if (!names) return {};
    const std::string_view end = v2 ? ".current" : ".usage_in_bytes";
    for (const std::string& name : *names) {
        constexpr std::string_view kBegin = "hugetlb.";
        if (!name.starts_with(kBegin) || !name.ends_with(end) || name.find(".rsvd.") != std::string::npos) continue;
        const auto size = name.substr(kBegin.size(), name.size() - kBegin.size() - end.size());
        const std::string prefix = cat(directory, "/hugetlb.", size);
        const std::string reserved = exists(kCwd, cat(prefix, ".rsvd", end)) ? prefix + ".rsvd" : prefix;
        HugePageUse use;
        use.usage = TRY(number_in(cat(reserved, end)));
        if (v2) {
            use.failures = count(TRY(counts_in(prefix + ".events")), "max");
        } else {
            use.most = TRY(number_in(reserved + ".max_usage_in_bytes"));
            use.failures = TRY(number_in(reserved + ".failcnt"));
        }
        stats.huge_pages[size] = use;
    }
    return {};
}

} // namespace

Result<std::vector<std::uint16_t>> parse_cpu_list(std::string_view text)
{
    std::vector<std::uint16_t> numbers;
    text = text.substr(0, text.find('\n'));
    if (text.empty()) return numbers;
    for (const auto range : split(text, ',')) {
        const auto dash = range.find('-');
        const auto first = TRY(parse_integer(range.substr(0, dash), 0, UINT16_MAX));
        const auto last =
            dash == std::string_view::npos ? first : TRY(parse_integer(range.substr(dash + 1), first, UINT16_MAX));
        for (auto number = first; number <= last; ++number)
            numbers.push_back(static_cast<std::uint16_t>(number));
    }
    return numbers;
}

Result<CgroupStats> read_cgroup_stats(const CgroupPaths& paths)
{
    CgroupStats stats;
    TRY(read_pids(paths, stats));
    if (paths.v1.empty()) {
        TRY(v2_cpu(paths.v2, stats));
        stats.cpuset.cpus = TRY(parse_cpu_list(TRY(text_of(paths.v2 + "/cpuset.cpus"))));
        stats.cpuset.memory_nodes = TRY(parse_cpu_list(TRY(text_of(paths.v2 + "/cpuset.mems"))));
        TRY(v2_memory(paths.v2, stats));
        TRY(v2_io(paths.v2, stats));
        TRY(read_huge_pages(paths.v2, true, stats));
        return stats;
    }
    for (const auto& [controller, directory] : paths.v1) {
        if (controller == "memory") TRY(v1_memory(directory, stats));
        if (controller == "cpuacct") TRY(v1_cpu_time(directory, stats));
        if (controller == "cpuset") TRY(v1_cpuset(directory, stats));
        if (controller == "blkio") TRY(v1_io(directory, stats));
        if (controller == "hugetlb") TRY(read_huge_pages(directory, false, stats));
        if (controller != "cpu") continue;
        const auto counts = TRY(counts_in(directory + "/cpu.stat"));
        stats.cpu.periods = count(counts, "nr_periods");
        stats.cpu.throttled_periods = count(counts, "nr_throttled");
        stats.cpu.throttled_ns = count(counts, "throttled_time");
    }
    return stats;
}

} // namespace coppice::os
