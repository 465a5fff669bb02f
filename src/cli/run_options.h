#pragma once

#include "coppice/base/result.h"
#include "coppice/instance/config.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace CLI { // NOLINT(readability-identifier-naming): the library's own
class App;
}

namespace coppice::cli {

/// The words of a command line that say what an instance is to be.
struct RunOptions {
    std::string root, name, mode, memory, swap, cpus, hostname, workdir, user, stop_signal, on_stop, restart,
        health_command, health_interval, health_timeout, health_start_period, snapshots;
    std::vector<std::string> env, env_files, volumes, tmpfs, devices, ulimits, labels, cap_add, cap_drop,
        security_options, log_options, command;
    std::int64_t pids = 0;
    std::optional<std::uint64_t> cpu_weight, io_weight;
    std::optional<std::int64_t> stop_timeout, health_retries;
    bool remove = false, read_only = false, keep_identity = false, boot = false, init = false, interactive = false,
         terminal = false, detached = false, no_health = false;
};

/// Declares ROOT and the options that say what the instance is. How its caller attends to it (-d, -i) is not among
/// them.
void declare_instance(CLI::App& command, RunOptions& options);

/// What has a slash is a path: ./debian is a directory, debian a vdisk.
bool is_vdisk(const std::string& root);

/// Of files and then of -e: of two that set the same variable the last one counts. Errors: Invalid, NotFound
Result<std::vector<std::string>> environment_of(const std::vector<std::string>& files,
                                                const std::vector<std::string>& env);

/// What was asked for, as far as it can be checked before anything is made.
/// Errors: Invalid, NotFound or Unsupported, naming the option
Result<instance::InstanceConfig> make_config(const RunOptions& options);

} // namespace coppice::cli
