#include "attach.h"
#include "command.h"
#include "coppice/base/id.h"
#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "coppice/instance/launch.h"
#include "coppice/os/file.h"
#include "coppice/vdisk/image.h"
#include "daemon_link.h"

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <memory>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace coppice::cli {

namespace {

struct RunOptions {
    std::string root, name, mode, memory, cpus, hostname, workdir, user;
    std::vector<std::string> env, volumes, command;
    std::int64_t pids = 0;
    bool remove = false, interactive = false, terminal = false, detached = false;
};

Result<instance::Mode> mode_of(const RunOptions& options)
{
    if (!options.mode.empty()) {
        const auto mode = TRY(instance::parse_mode(options.mode));
        if (options.remove && mode == instance::Mode::Private)
            return fail(ErrorKind::Invalid, "--rm undoes all writes; it does not go with --mode private");
        return mode;
    }
    return options.remove ? instance::Mode::Shared : instance::Mode::Private;
}

/// What has a slash is a path: ./debian is a directory, debian a vdisk.
bool is_vdisk(const std::string& root) { return root.find('/') == std::string::npos; }

Result<instance::InstanceConfig> config_of(const RunOptions& options)
{
    instance::InstanceConfig config;
    config.name = options.name.empty() ? cat("i-", random_hex(8)) : options.name;
    TRY_DOING(cat("--name '", config.name, "'"), check_name(config.name));
    config.mode = TRY(mode_of(options));
    config.remove_at_end = options.remove;
    config.root = options.root;
    config.command = options.command;
    if (!is_vdisk(options.root)) {
        const auto image = TRY(vdisk::Image::open(options.root)); // a wrong ROOT is told before anything is made
        config.root = image.path();
        TRY(instance::apply_image_config(config, "")); // it has none
    }
    if (!config.command.empty() && config.command.front().empty())
        return fail(ErrorKind::Invalid, "the command is empty");
    config.env = TRY(environment_entries(options.env));
    for (const std::string& text : options.volumes)
        config.volumes.push_back(TRY(instance::parse_volume(text)));
    if (!options.workdir.empty() && !options.workdir.starts_with('/'))
        return fail(ErrorKind::Invalid, cat("-w ", options.workdir, ": must be an absolute path"));
    config.workdir = options.workdir;
    config.user = options.user;
    if (options.hostname.size() > 64) return fail(ErrorKind::Invalid, "--hostname: longer than 64 bytes");
    config.hostname = options.hostname;
    config.terminal = options.terminal;
    if (!options.memory.empty()) {
        constexpr std::uint64_t kLeast = 4U << 20; // below this not even a shell starts
        config.memory_bytes = TRY_DOING("--memory", parse_bytes(options.memory));
        if (*config.memory_bytes < kLeast)
            return fail(ErrorKind::Invalid,
                        cat("--memory ", options.memory, ": at least ", format_bytes(kLeast), " are needed"));
        if (*config.memory_bytes > INT64_MAX / 2)
            return fail(ErrorKind::Invalid, cat("--memory ", options.memory, ": too much"));
    }
    if (!options.cpus.empty()) {
        config.millicpus = TRY_DOING("--cpus", parse_millicpus(options.cpus));
        if (*config.millicpus < 10) return fail(ErrorKind::Invalid, cat("--cpus ", options.cpus, ": at least 0.01"));
    }
    if (options.pids != 0) config.pids = options.pids;
    const auto stored = instance::parse_instance_config(instance::to_json(config));
    if (!stored || *stored != config)
        return fail(Error{ErrorKind::Invalid, "the command, an option or a path holds bytes that are not UTF-8"}.hint(
            "hand such bytes over in a file or by standard input"));
    return config;
}

Result<int> attend(instance::RunningInstance& running, const RunOptions& options, const os::SignalFd& signals)
{
    Result<std::optional<instance::RunningInstance::End>> end;
    const auto is_over = [&] {
        end = running.next();
        return !end || *end;
    };
    const Attachment attachment{.signals = signals,
                                .send = [&](int signal) { return running.send(signal); },
                                .events = running.events(),
                                .is_over = is_over};
    if (!TRY(stay_attached(attachment, std::move(running.terminal()), options.interactive))) return kHungUpStatus;
    const auto finished = TRY(std::move(end));
    if (!finished->note.empty()) std::fprintf(stderr, "coppice: %s\n", finished->note.c_str());
    return finished->status;
}

/// As with docker: without -i the instance reads nothing.
Result<> close_input()
{
    const auto null = TRY(os::open_at(os::kCwd, "/dev/null", O_RDONLY));
    if (::dup2(null.get(), STDIN_FILENO) < 0) return fail_os(errno, "close standard input");
    return {};
}

api::Client::Call start_of(const instance::InstanceConfig& config, bool attach)
{
    nlohmann::json body{{"config", nlohmann::json::parse(instance::to_json(config))}, {"attach", attach}};
    return {.method = "POST", .target = "/v1/instances", .body = std::move(body)};
}

Result<int> run(const RunOptions& options, const GlobalOptions& global)
{
    TRY(need_root("running an instance"));
    if (options.detached && options.interactive)
        return fail(ErrorKind::Invalid, "-d and -i do not go together: nobody is there to give input");
    if (!options.detached) TRY(check_terminal_wish(options.terminal, options.interactive));
    const auto config = TRY(config_of(options));
    // Before anything starts, so that no signal is lost between its start and our readiness to hand signals on.
    const auto signals = TRY(os::SignalFd::make(os::forwardable_signals()));
    if (!options.interactive && !options.terminal) TRY(close_input());
    if (is_vdisk(options.root)) {
        const auto client = TRY(reach_daemon(global));
        if (options.detached) {
            TRY_DOING(cat("run ", config.name), client.call(start_of(config, false)));
            std::puts(config.name.c_str());
            return 0;
        }
        auto running = TRY_DOING(cat("run ", config.name),
                                 instance::RunningInstance::join(TRY(client.open_link(start_of(config, true))),
                                                                 config.name, config.terminal));
        return attend(running, options, signals);
    }
    const auto store = TRY(instance::InstanceStore::open(global.root));
    auto running =
        TRY_DOING(cat("run ", config.name), instance::RunningInstance::start(store, config, options.detached));
    if (!options.detached) return attend(running, options, signals);
    TRY(running.detach());
    std::puts(config.name.c_str());
    return 0;
}

} // namespace

void add_run(CLI::App& app, Command& chosen)
{
    auto options = std::make_shared<RunOptions>();
    CLI::App* const command = app.add_subcommand("run", "Start an instance on a root and run a command in it");
    command
        ->add_option("root", options->root,
                     "Vdisk, VDISK:VERSION, VDISK@TAG, snapshot; or with a slash a directory or EROFS image. It is "
                     "never written to")
        ->type_name("ROOT")
        ->required();
    command->add_flag("--rm", options->remove, "Leave nothing of the instance behind when it stops");
    command
        ->add_option("--name", options->name,
                     "Name; default: i- and eight digits. A stopped instance of this name starts again")
        ->type_name("NAME");
    command
        ->add_option("--mode", options->mode,
                     "private: writes are kept; shared: undone at stop (default: shared with --rm, else private)")
        ->type_name("private|shared");
    command->add_flag("-d,--detach", options->detached,
                      "Run in the background; print the name; output goes to `coppice logs`");
    command->add_flag("-i,--interactive", options->interactive, "Hand standard input on");
    command->add_flag("-t,--tty", options->terminal, "Give it a terminal");
    command->add_option("-m,--memory", options->memory, "Memory limit, for example 64m or 1.5g; swap as much again")
        ->type_name("SIZE");
    command->add_option("--cpus", options->cpus, "CPU limit, for example 0.5 or 2")->type_name("NUMBER");
    command->add_option("--pids", options->pids, "Limit of processes (default: 2048; -1: none)")
        ->type_name("NUMBER")
        ->check(CLI::Range(std::int64_t{-1}, std::int64_t{4194304}))
        ->check([](const std::string& text) { return text == "0" ? "0 processes cannot run anything" : ""; });
    command->add_option("--hostname", options->hostname, "Host name inside (default: the name)")->type_name("HOSTNAME");
    command->add_option("-e,--env", options->env, "Environment variable, NAME=value, or NAME to hand our own on")
        ->type_name("NAME=value")
        ->allow_extra_args(false);
    command
        ->add_option("-v,--volume", options->volumes, "SOURCE:DESTINATION[:ro], a directory or file of the host inside")
        ->type_name("SOURCE:DESTINATION")
        ->allow_extra_args(false);
    command->add_option("-w,--workdir", options->workdir, "Working directory inside (default: /)")
        ->type_name("PATH-INSIDE");
    command->add_option("-u,--user", options->user, "USER[:GROUP], names or numbers, looked up inside (default: root)")
        ->type_name("USER")
        ->check(&not_empty);
    command->footer("Example: coppice run -d --name web -m 256m debian:3 -- nginx -g 'daemon off;'\n"
                    "Behind ROOT stands the command with its arguments, with or without `--` before it (default: "
                    "the\nvdisk's own, or /bin/sh).\n"
                    "Exit status: the command's own; 128 + N when signal N ended it; 125 when coppice itself failed,\n"
                    "126 when the command cannot be executed, 127 when it does not exist.");
    command->callback([options, &chosen] {
        chosen = [options](const GlobalOptions& global) {
            options->command = global.inner_command;
            return run(*options, global);
        };
    });
}

} // namespace coppice::cli
