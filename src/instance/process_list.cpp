#include "coppice/instance/process_list.h"

#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/base/units.h"
#include "coppice/instance/look.h"
#include "coppice/os/file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace coppice::instance {

namespace {

constexpr std::uint64_t kNsPerSecond = 1'000'000'000;
constexpr std::size_t kFileMaxBytes = 1U << 16;

std::uint64_t number_in(std::string_view word)
{
    const auto number = parse_integer(word, 0, INT64_MAX);
    return number ? static_cast<std::uint64_t>(*number) : 0;
}

/// The fields behind `key`, "Name:" and a tab, in /proc/PID/status.
std::vector<std::string_view> status_words(std::string_view status, std::string_view key)
{
    for (const auto line : split(status, '\n'))
        if (line.starts_with(key)) return split(line.substr(key.size()), '\t');
    return {};
}

std::optional<std::uint32_t> to_inside(const os::IdMap& map, std::uint64_t outside)
{
    for (const os::IdMapping& range : map)
        if (outside >= range.outside && outside - range.outside < range.size)
            return static_cast<std::uint32_t>(range.inside + (outside - range.outside));
    return {};
}

/// A program says of itself what it likes; one that says nothing has its name.
std::string command_of(std::string text, std::string_view name)
{
    text.resize(text.find_last_not_of('\0') + 1);
    std::replace(text.begin(), text.end(), '\0', ' ');
    return text.empty() ? cat('[', name, ']') : text;
}

/// Of the times in /proc/PID/stat, in ticks.
void set_times(ProcessInfo& process, std::uint64_t start, std::uint64_t used, const ProcessClock& clock)
{
    const auto ns_per_tick = kNsPerSecond / clock.ticks_per_second;
    const auto start_ns = start * ns_per_tick;
    const auto now_ns =
        static_cast<std::uint64_t>(clock.now.tv_sec) * kNsPerSecond + static_cast<std::uint64_t>(clock.now.tv_nsec);
    const auto wall_ns = now_ns - clock.since_boot_ns + start_ns;
    process.started = to_rfc3339(
        {.tv_sec = static_cast<time_t>(wall_ns / kNsPerSecond), .tv_nsec = static_cast<long>(wall_ns % kNsPerSecond)});
    if (clock.since_boot_ns < start_ns + ns_per_tick) return; // too young to say
    process.cpu_percent =
        100.0 * static_cast<double>(used * ns_per_tick) / static_cast<double>(clock.since_boot_ns - start_ns);
}

/// The beginning of it: a program may have written megabytes there.
Result<std::string> read_command_line(const os::Fd& process)
{
    const auto file = TRY(os::open_at(process.get(), "cmdline", O_RDONLY));
    std::string text(4096, '\0');
    const auto got = os::retry_eintr([&] { return ::read(file.get(), text.data(), text.size()); });
    if (got < 0) return fail_os(errno, "read a command line");
    text.resize(static_cast<std::size_t>(got));
    return text;
}

/// All three are of the same process, whatever becomes of its number.
Result<ProcessFiles> read_files(pid_t pid)
{
    const auto process = TRY(os::open_at(os::kCwd, cat("/proc/", pid), O_PATH | O_DIRECTORY));
    ProcessFiles files;
    files.stat = TRY(os::read_file(process.get(), "stat", kFileMaxBytes));
    files.status = TRY(os::read_file(process.get(), "status", kFileMaxBytes));
    files.command_line = TRY(read_command_line(process));
    return files;
}

ProcessClock clock_now()
{
    timespec boot{};
    ::clock_gettime(CLOCK_BOOTTIME, &boot);
    return {.now = now(),
            .since_boot_ns =
                static_cast<std::uint64_t>(boot.tv_sec) * kNsPerSecond + static_cast<std::uint64_t>(boot.tv_nsec),
            .ticks_per_second = static_cast<std::uint64_t>(std::max(::sysconf(_SC_CLK_TCK), 1L)),
            .page_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE))};
}

} // namespace

os::IdMap parse_id_map(std::string_view text)
{
    os::IdMap map;
    for (const auto line : split(text, '\n')) {
        const auto words = words_of(line);
        if (words.size() != 3) continue;
        map.push_back({.inside = static_cast<std::uint32_t>(number_in(words[0])),
                       .outside = static_cast<std::uint32_t>(number_in(words[1])),
                       .size = static_cast<std::uint32_t>(number_in(words[2]))});
    }
    return map;
}

std::optional<ProcessInfo> process_of(const ProcessFiles& files, const os::IdMap& users, const ProcessClock& clock)
{
    // A program's name may hold blanks and parentheses: it ends at the last one. Source: proc_pid_stat(5)
    const std::string_view stat{files.stat};
    const auto open = stat.find('('), close = stat.rfind(')');
    if (open == std::string_view::npos || close == std::string_view::npos || close < open) return {};
    const auto fields = words_of(stat.substr(close + 1)); // from field 3 on
    constexpr std::size_t kState = 0, kUserTime = 11, kKernelTime = 12, kStart = 19, kPages = 21;
    if (fields.size() <= kPages) return {};
    const auto pids = status_words(files.status, "NSpid:\t");
    const auto ids = status_words(files.status, "Uid:\t");
    if (pids.empty() || ids.size() < 2) return {};
    ProcessInfo process;
    process.host_pid = static_cast<pid_t>(number_in(pids.front()));
    process.pid = pids.size() > 1 ? static_cast<pid_t>(number_in(pids[1])) : process.host_pid;
    process.user = to_inside(users, number_in(ids[1]));
    process.state = fields[kState].front();
    process.memory = number_in(fields[kPages]) * clock.page_bytes;
    process.command = command_of(files.command_line, stat.substr(open + 1, close - open - 1));
    set_times(process, number_in(fields[kStart]), number_in(fields[kUserTime]) + number_in(fields[kKernelTime]), clock);
    return process;
}

Result<std::vector<ProcessInfo>> read_processes(const InstanceStore& store, const std::string& name)
{
    const auto record = TRY(running_record(store, name));
    const auto map = os::read_file(os::kCwd, cat("/proc/", record.pid, "/uid_map"), kFileMaxBytes);
    const auto users = parse_id_map(map ? *map : "");
    const auto clock = clock_now();
    std::vector<ProcessInfo> processes;
    for (const pid_t pid : TRY(os::processes_in(record.cgroup)))
        if (const auto files = read_files(pid)) // else it has ended
            if (auto process = process_of(*files, users, clock)) processes.push_back(*std::move(process));
    // A number that was given out again meanwhile is that of a stranger.
    const auto still = TRY(os::processes_in(record.cgroup));
    std::erase_if(processes, [&still](const ProcessInfo& process) {
        return std::find(still.begin(), still.end(), process.host_pid) == still.end();
    });
    std::sort(processes.begin(), processes.end(),
              [](const ProcessInfo& a, const ProcessInfo& b) { return a.pid < b.pid; });
    return processes;
}

nlohmann::json to_json(const ProcessInfo& process)
{
    return {{"pid", process.pid},
            {"hostPid", process.host_pid},
            {"user", process.user ? nlohmann::json(*process.user) : nlohmann::json{}},
            {"cpuPercent", process.cpu_percent},
            {"memoryBytes", process.memory},
            {"state", std::string{process.state}},
            {"started", process.started},
            {"command", process.command}};
}

} // namespace coppice::instance
