#pragma once

#include "coppice/instance/store.h"
#include "coppice/os/id_map.h"

#include <cstdint>
#include <ctime>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// The processes of running instances, as the host sees them.
namespace coppice::instance {

struct ProcessInfo {
    pid_t pid = 0; ///< inside
    pid_t host_pid = 0;
    std::optional<std::uint32_t> user; ///< inside; empty: none that the instance knows
    double cpu_percent = 0;            ///< of one processor, since it started
    std::uint64_t memory = 0;          ///< bytes of it that are in memory
    char state = '?';                  ///< a letter of proc_pid_stat(5)
    std::string started;               ///< RFC 3339
    std::string command;               ///< its arguments' beginning with blanks between them, or [name]; any bytes
};

/// By pid inside. What ends meanwhile is left out. Errors: NotFound, Conflict (it does not run)
Result<std::vector<ProcessInfo>> read_processes(const InstanceStore& store, const std::string& name);

/// For the API.
nlohmann::json to_json(const ProcessInfo& process);

/// What is read of a process: files of /proc/PID.
struct ProcessFiles {
    std::string stat, status, command_line;
};
/// When it is read, and in which units the kernel tells.
struct ProcessClock {
    timespec now{};                  ///< as people have it
    std::uint64_t since_boot_ns = 0; ///< at that moment
    std::uint64_t ticks_per_second = 1, page_bytes = 1;
};
/// Empty when the files are not understood. Pure.
std::optional<ProcessInfo> process_of(const ProcessFiles& files, const os::IdMap& users, const ProcessClock& clock);

/// The content of /proc/PID/uid_map; lines that are not understood are left out. Pure.
os::IdMap parse_id_map(std::string_view text);

} // namespace coppice::instance
