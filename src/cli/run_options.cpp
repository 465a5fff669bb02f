#include "run_options.h"

#include "command.h"
#include "coppice/base/id.h"
#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "coppice/instance/boot.h"
#include "coppice/instance/options.h"
#include "coppice/os/file.h"
#include "coppice/os/process.h"
#include "coppice/vdisk/image.h"

#include <CLI/CLI.hpp>
#include <climits>
#include <cstdint>
#include <tuple>

namespace coppice::cli {

namespace {

constexpr std::size_t kEnvFileMaxBytes = 1U << 20;

/// What becomes of its writes: --rm, --mode and --on-stop, as far as they agree.
Result<> take_end(instance::InstanceConfig& config, const RunOptions& options)
{
    using instance::Mode;
    config.remove_at_end = options.remove;
    std::optional<Mode> mode;
    if (options.remove) mode = Mode::Shared;
    if (!options.mode.empty()) {
        const Mode asked = TRY(instance::parse_mode(options.mode));
        if (options.remove && asked == Mode::Private)
            return fail(ErrorKind::Invalid, "--rm undoes all writes; it does not go with --mode private");
        mode = asked;
    }
    if (!options.on_stop.empty()) {
        const Mode asked = options.on_stop == "discard" ? Mode::Shared : Mode::Private;
        if (asked == Mode::Private) config.on_stop = TRY_DOING("--on-stop", instance::parse_on_stop(options.on_stop));
        if (mode && *mode != asked)
            return fail(ErrorKind::Invalid, cat("--on-stop ", options.on_stop, " does not go with ",
                                                options.remove ? "--rm" : cat("--mode ", options.mode)));
        mode = asked;
    }
    config.mode = mode.value_or(Mode::Private);
    if (config.on_stop == instance::OnStop::Branch && !is_vdisk(options.root))
        return fail(Error{ErrorKind::Invalid, "--on-stop branch: a directory or image has no snapshots"}.hint(
            "make a vdisk of it: coppice vdisk import NAME ROOT"));
    if (!options.restart.empty()) config.restart = TRY_DOING("--restart", instance::parse_restart(options.restart));
    if (options.remove && config.restart.when != instance::RestartPolicy::When::No)
        return fail(ErrorKind::Invalid, "--restart does not go with --rm: nothing is left to be started");
    if (config.on_stop == instance::OnStop::Ask && config.restart.when != instance::RestartPolicy::When::No)
        return fail(ErrorKind::Invalid, "--restart does not go with --on-stop ask: nobody is asked at a restart");
    config.snapshots = TRY_DOING("--snapshots", instance::parse_schedules(options.snapshots));
    if (!config.snapshots.empty() && (config.mode != Mode::Private || !is_vdisk(options.root)))
        return fail(ErrorKind::Invalid, "--snapshots is for private instances on a vdisk");
    return {};
}

Result<> take_health(instance::InstanceConfig& config, const RunOptions& options)
{
    if (options.no_health) {
        if (is_vdisk(options.root)) config.health.emplace().command.clear(); // none, whatever its configuration says
        return {};
    }
    const bool has_details = !options.health_interval.empty() || !options.health_timeout.empty() ||
                             !options.health_start_period.empty() || options.health_retries;
    if (options.health_command.empty()) {
        if (!has_details) return {};
        return fail(ErrorKind::Invalid, "--health-interval and the like need --health-cmd");
    }
    auto& check = config.health.emplace();
    check.command = {"/bin/sh", "-c", options.health_command};
    for (const auto& [option, text, value] :
         {std::tuple{"--health-interval", &options.health_interval, &check.interval_ms},
          {"--health-timeout", &options.health_timeout, &check.timeout_ms},
          {"--health-start-period", &options.health_start_period, &check.start_period_ms}}) {
        if (text->empty()) continue;
        *value = TRY_DOING(option, parse_duration_ms(*text));
        if (*value < 1) return fail(ErrorKind::Invalid, cat(option, ' ', *text, ": at least a millisecond"));
    }
    if (options.health_retries) check.retries = static_cast<int>(*options.health_retries);
    return {};
}

Result<> take_limits(instance::InstanceConfig& config, const RunOptions& options)
{
    if (!options.memory.empty()) {
        config.memory_bytes = TRY_DOING("--memory", parse_bytes(options.memory));
        if (*config.memory_bytes < instance::kLeastMemoryBytes)
            return fail(ErrorKind::Invalid, cat("--memory ", options.memory, ": at least ",
                                                format_bytes(instance::kLeastMemoryBytes), " are needed"));
        if (*config.memory_bytes > INT64_MAX / 2)
            return fail(ErrorKind::Invalid, cat("--memory ", options.memory, ": too much"));
    }
    if (!options.swap.empty()) {
        config.swap_bytes = TRY_DOING("--swap", instance::parse_swap(options.swap));
        if (!config.memory_bytes)
            return fail(Error{ErrorKind::Invalid, cat("--swap ", options.swap, ": there is no memory limit")}.hint(
                "swap is limited beyond memory: give --memory, too"));
    }
    if (!options.cpus.empty()) {
        config.millicpus = TRY_DOING("--cpus", parse_millicpus(options.cpus));
        if (*config.millicpus < instance::kLeastMillicpus)
            return fail(ErrorKind::Invalid, cat("--cpus ", options.cpus, ": at least 0.01"));
    }
    config.cpu_weight = options.cpu_weight;
    config.io_weight = options.io_weight;
    if (options.pids != 0) config.pids = options.pids;
    for (const std::string& text : options.ulimits) {
        auto limit = TRY_DOING("--ulimit", instance::parse_ulimit(text));
        std::erase_if(config.ulimits, [&limit](const instance::Ulimit& other) { return other.name == limit.name; });
        config.ulimits.push_back(std::move(limit));
    }
    return {};
}

Result<> take_rights(instance::InstanceConfig& config, const RunOptions& options)
{
    for (const std::string& text : options.cap_add)
        config.cap_add.push_back(TRY_DOING("--cap-add", instance::parse_capability(text)));
    for (const std::string& text : options.cap_drop)
        config.cap_drop.push_back(TRY_DOING("--cap-drop", instance::parse_capability(text)));
    for (const std::string& text : options.security_options)
        TRY(instance::apply_security_option(config, text));
    return {};
}

Result<> take_files(instance::InstanceConfig& config, const RunOptions& options)
{
    for (const std::string& text : options.volumes)
        config.volumes.push_back(TRY(instance::parse_volume(text)));
    for (const std::string& text : options.tmpfs)
        config.tmpfs.push_back(TRY_DOING("--tmpfs", instance::parse_tmpfs(text)));
    for (const std::string& text : options.devices)
        config.devices.push_back(TRY_DOING("--device", instance::parse_device(text)));
    config.read_only = options.read_only;
    return instance::check_destinations(config);
}

void declare_limits(CLI::App& command, RunOptions& options)
{
    const CLI::Range weights{std::int64_t{1}, instance::kMaxWeight};
    command.add_option("-m,--memory", options.memory, "Memory limit, for example 64m or 1.5g; swap as much again")
        ->type_name("SIZE");
    command
        .add_option("--swap", options.swap,
                    "Limit of swap beyond --memory; 0: none, -1: no limit (default: as much as memory)")
        ->type_name("SIZE")
        ->check(&not_empty);
    command.add_option("--cpus", options.cpus, "CPU limit, for example 0.5 or 2")->type_name("NUMBER");
    command
        .add_option("--cpu-weight", options.cpu_weight, "Share of the CPUs beside others, 1 to 10000 (default: 100)")
        ->type_name("NUMBER")
        ->check(weights);
    command
        .add_option("--io-weight", options.io_weight,
                    "Share of the disks beside others, 1 to 10000; needs BFQ or io.cost on the host")
        ->type_name("NUMBER")
        ->check(weights);
    command.add_option("--pids", options.pids, "Limit of processes (default: 2048; -1: none)")
        ->type_name("NUMBER")
        ->check(CLI::Range(std::int64_t{-1}, std::int64_t{4194304}))
        ->check([](const std::string& text) { return text == "0" ? "0 processes cannot run anything" : ""; });
    command
        .add_option("--ulimit", options.ulimits, "Limit of each process, for example nofile=1024:4096; -1: no limit")
        ->type_name("NAME=SOFT[:HARD]")
        ->allow_extra_args(false);
}

void declare_files(CLI::App& command, RunOptions& options)
{
    command
        .add_option("-v,--volume", options.volumes, "SOURCE:DESTINATION[:ro], a directory or file of the host inside")
        ->type_name("SOURCE:DESTINATION")
        ->allow_extra_args(false);
    command.add_option("--tmpfs", options.tmpfs, "Files in memory: PATH[:size=64m,mode=1777,ro,exec,suid,dev ...]")
        ->type_name("PATH-INSIDE")
        ->allow_extra_args(false);
    command.add_option("--device", options.devices, "HOST[:INSIDE[:rwm]], a device of the host inside")
        ->type_name("DEVICE")
        ->allow_extra_args(false);
    command.add_flag("--read-only", options.read_only,
                     "Nothing can be written to the root; /run, /tmp and /var/tmp are in memory");
}

void declare_process(CLI::App& command, RunOptions& options)
{
    command.add_flag("-t,--tty", options.terminal, "Give it a terminal");
    command.add_flag("--boot", options.boot,
                     "Start a whole system: /sbin/init, unless a command is given, with a console and its own cgroup");
    command.add_flag("--init", options.init, "Run the command below a small init, which takes dead processes away");
    command.add_option("--hostname", options.hostname, "Host name inside (default: the name)")->type_name("HOSTNAME");
    command.add_flag(
        "--keep-identity", options.keep_identity,
        "Keep the vdisk's own machine-id, ssh host keys and the like (default: each instance gets others)");
    command.add_option("-e,--env", options.env, "Environment variable, NAME=value, or NAME to hand our own on")
        ->type_name("NAME=value")
        ->allow_extra_args(false);
    command
        .add_option("--env-file", options.env_files,
                    "File of such lines, without quoting; # begins a comment; -e counts more")
        ->type_name("PATH")
        ->allow_extra_args(false);
    command.add_option("-w,--workdir", options.workdir, "Working directory inside (default: the vdisk's own, or /)")
        ->type_name("PATH-INSIDE");
    command
        .add_option("-u,--user", options.user,
                    "USER[:GROUP], names or numbers, looked up inside (default: the vdisk's own, or root)")
        ->type_name("USER")
        ->check(&not_empty);
    command
        .add_option("--stop-signal", options.stop_signal,
                    "What `coppice stop` asks with (default: the vdisk's own, or TERM)")
        ->type_name("SIGNAL")
        ->check(&not_empty);
    command
        .add_option("--stop-timeout", options.stop_timeout, "How long `coppice stop` waits before KILL (default: 10)")
        ->type_name("SECONDS")
        ->check(CLI::Range(std::int64_t{0}, instance::kMaxStopTimeout));
}

void declare_life(CLI::App& command, RunOptions& options)
{
    command.add_flag("--rm", options.remove, "Leave nothing of the instance behind when it stops");
    command
        .add_option("--mode", options.mode,
                    "private: writes are kept; shared: undone at stop (default: shared with --rm, else private)")
        ->type_name("private|shared");
    command
        .add_option(
            "--on-stop", options.on_stop,
            "keep: as private; discard: as shared; ask: see `coppice keep`; branch: a snapshot, then a clean start")
        ->type_name("keep|discard|ask|branch")
        ->check(&not_empty);
    command
        .add_option("--restart", options.restart,
                    "Start it again by itself: no, on-failure[:TIMES], always or unless-stopped (default: no)")
        ->type_name("POLICY")
        ->check(&not_empty);
    command
        .add_option("--snapshots", options.snapshots,
                    "Snapshots by the clock, and how many are kept: hourly:24,daily:7 (see the manual page)")
        ->type_name("SCHEDULES")
        ->check(&not_empty);
    command
        .add_option("--health-cmd", options.health_command,
                    "Command for the shell inside; with exit status 0 the instance is healthy")
        ->type_name("COMMAND")
        ->check(&not_empty);
    for (const auto& [name, text, help] :
         {std::tuple{"--health-interval", &options.health_interval, "Time between two checks (default: 30s)"},
          {"--health-timeout", &options.health_timeout, "A check that takes longer has failed (default: 30s)"},
          {"--health-start-period", &options.health_start_period, "Failures count for nothing so long (default: 0s)"}})
        command.add_option(name, *text, help)->type_name("DURATION")->check(&not_empty);
    command
        .add_option("--health-retries", options.health_retries,
                    "Failures one after another that make it unhealthy (default: 3)")
        ->type_name("NUMBER")
        ->check(CLI::Range(1, INT_MAX));
    command.add_flag("--no-healthcheck", options.no_health, "No check, also if the vdisk has one");
}

void declare_rights(CLI::App& command, RunOptions& options)
{
    command.add_option("--cap-add", options.cap_add, "Capability to have, for example NET_ADMIN; ALL: all of them")
        ->type_name("CAPABILITY")
        ->allow_extra_args(false);
    command.add_option("--cap-drop", options.cap_drop, "Capability not to have; ALL: only those of --cap-add")
        ->type_name("CAPABILITY")
        ->allow_extra_args(false);
    command
        .add_option("--security-opt", options.security_options,
                    "no-new-privileges, seccomp=FILE, seccomp=unconfined, apparmor=PROFILE or label=disable")
        ->type_name("OPTION")
        ->allow_extra_args(false);
}

} // namespace

Result<std::vector<std::string>> environment_of(const std::vector<std::string>& files,
                                                const std::vector<std::string>& env)
{
    std::vector<std::string> texts;
    for (const std::string& path : files) {
        const auto text = TRY_DOING("--env-file", os::read_file(os::kCwd, path, kEnvFileMaxBytes));
        auto entries = TRY_DOING("--env-file", instance::parse_env_file(text, path));
        texts.insert(texts.end(), std::make_move_iterator(entries.begin()), std::make_move_iterator(entries.end()));
    }
    texts.insert(texts.end(), env.begin(), env.end());
    return environment_entries(texts);
}

Result<instance::InstanceConfig> make_config(const RunOptions& options)
{
    instance::InstanceConfig config;
    config.name = options.name.empty() ? cat("i-", random_hex(8)) : options.name;
    TRY_DOING(cat("--name '", config.name, "'"), check_name(config.name));
    TRY(take_end(config, options));
    TRY(take_health(config, options));
    if (options.root.empty()) return fail(ErrorKind::Invalid, "the root is empty");
    config.root = options.root;
    config.command = options.command;
    if (!is_vdisk(options.root)) {
        const auto image = TRY(vdisk::Image::open(options.root)); // a wrong ROOT is told before anything is made
        config.root = image.path();
        if (config.command.empty() && !options.boot) config.command = {"/bin/sh"}; // it has no configuration
    }
    if (!config.command.empty() && config.command.front().empty())
        return fail(ErrorKind::Invalid, "the command is empty");
    config.env = TRY(environment_of(options.env_files, options.env));
    TRY(take_files(config, options));
    if (!options.workdir.empty() && !options.workdir.starts_with('/'))
        return fail(ErrorKind::Invalid, cat("-w ", options.workdir, ": must be an absolute path"));
    config.workdir = options.workdir;
    config.user = options.user;
    if (options.hostname.size() > 64) return fail(ErrorKind::Invalid, "--hostname: longer than 64 bytes");
    config.hostname = options.hostname;
    config.keep_identity = options.keep_identity;
    config.terminal = options.terminal || options.boot;
    config.open_input = options.interactive && (options.detached || config.terminal);
    TRY(take_limits(config, options));
    TRY(take_rights(config, options));
    for (const std::string& text : options.labels) {
        auto [name, value] = TRY_DOING("--label", instance::parse_label(text));
        config.labels.insert_or_assign(std::move(name), std::move(value));
    }
    if (!options.stop_signal.empty()) TRY_DOING("--stop-signal", os::parse_signal(options.stop_signal));
    config.stop_signal = options.stop_signal;
    config.stop_timeout_seconds = options.stop_timeout;
    for (const std::string& text : options.log_options)
        TRY(instance::apply_log_option(config, text));
    if (options.boot && options.init)
        return fail(ErrorKind::Invalid, "--boot and --init do not go together: a whole system has an init of its own");
    config.boot = options.boot;
    config.init = options.init;
    if (config.boot && !is_vdisk(options.root)) instance::apply_boot_defaults(config); // for others coppiced knows more
    const auto stored = instance::parse_instance_config(instance::to_json(config));
    if (!stored || *stored != config)
        return fail(Error{ErrorKind::Invalid, "the command, an option or a path holds bytes that are not UTF-8"}.hint(
            "hand such bytes over in a file or by standard input"));
    return config;
}

bool is_vdisk(const std::string& root) { return root.find('/') == std::string::npos; }

void declare_instance(CLI::App& command, RunOptions& options)
{
    command
        .add_option(
            "root", options.root,
            "Vdisk, VDISK:VERSION, VDISK@TAG or snapshot; with a slash: a directory or EROFS image. Never written to")
        ->type_name("ROOT")
        ->required();
    command
        .add_option("--name", options.name,
                    "Name; default: i- and eight digits. A stopped instance of this name starts again")
        ->type_name("NAME");
    declare_life(command, options);
    declare_limits(command, options);
    declare_process(command, options);
    declare_files(command, options);
    declare_rights(command, options);
    command
        .add_option("--log-opt", options.log_options,
                    "Of a detached one's log: max-size=SIZE of each file (default: 10m), max-file=NUMBER (default: 3)")
        ->type_name("OPTION")
        ->allow_extra_args(false);
    command.add_option("--label", options.labels, "NAME=value, to find the instance again")
        ->type_name("NAME=value")
        ->allow_extra_args(false);
}

} // namespace coppice::cli
