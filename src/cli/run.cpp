#include "attach.h"
#include "attend.h"
#include "command.h"
#include "coppice/base/text.h"
#include "coppice/instance/launch.h"
#include "coppice/os/file.h"
#include "daemon_link.h"
#include "instances.h"
#include "run_options.h"
#include "undecided.h"

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <memory>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace coppice::cli {

namespace {

api::Client::Call start_of(const instance::InstanceConfig& config, bool attach)
{
    nlohmann::json body{{"config", nlohmann::json::parse(instance::to_json(config))}, {"attach", attach}};
    return {.method = "POST", .target = "/v1/instances", .body = std::move(body)};
}

/// What is no vdisk may be meant as a path.
template <typename T> Result<T> meant_path(Result<T> outcome, const std::string& root)
{
    if (outcome || outcome.error().kind() != ErrorKind::NotFound || !os::exists(os::kCwd, root)) return outcome;
    return fail(
        Error{ErrorKind::NotFound, outcome.error().message()}.hint(cat("for what is here by that name: ./", root)));
}

/// Whatever the daemon has to do with at its end, or after it.
bool needs_daemon(const instance::InstanceConfig& config)
{
    return is_vdisk(config.root) || config.restart.when != instance::RestartPolicy::When::No;
}

Result<int> run(const RunOptions& options, const GlobalOptions& global)
{
    TRY(need_root("running an instance"));
    if (!options.detached) TRY(check_terminal_wish(options.terminal, options.interactive));
    const auto config = TRY(make_config(options));
    // Before anything starts, so that no signal is lost between its start and our readiness to hand signals on.
    const auto signals = TRY(os::SignalFd::make(os::forwardable_signals()));
    if (!options.interactive && !options.terminal) TRY(close_input());
    if (needs_daemon(config)) {
        const auto client = TRY(reach_daemon(global));
        if (options.detached) {
            TRY_DOING(cat("run ", config.name), meant_path(client.call(start_of(config, false)), options.root));
            std::puts(config.name.c_str());
            return 0;
        }
        auto link =
            TRY_DOING(cat("run ", config.name), meant_path(client.open_link(start_of(config, true)), options.root));
        auto running = TRY_DOING(cat("run ", config.name),
                                 instance::RunningInstance::join(std::move(link), config.name, config.terminal));
        const int status = TRY(attend(running, options.interactive, signals));
        if (config.restart.when != instance::RestartPolicy::When::No)
            std::fprintf(stderr, "coppice: its restart policy is %s: see coppice ps -a, coppice stop %s\n",
                         to_text(config.restart).c_str(), config.name.c_str());
        TRY(ask_if_undecided(config.name, global));
        return status;
    }
    const auto store = TRY(instance::InstanceStore::open(global.root));
    auto running =
        TRY_DOING(cat("run ", config.name), instance::RunningInstance::start(store, config, options.detached));
    if (!options.detached) {
        const int status = TRY(attend(running, options.interactive, signals));
        TRY(ask_if_undecided(config.name, global));
        return status;
    }
    TRY(running.detach());
    std::puts(config.name.c_str());
    return 0;
}

} // namespace

void add_run(CLI::App& app, Command& chosen)
{
    auto options = std::make_shared<RunOptions>();
    CLI::App* const command = app.add_subcommand("run", "Start an instance on a root and run a command in it");
    declare_instance(*command, *options);
    command->add_flag("-d,--detach", options->detached,
                      "Run in the background; print the name; output goes to `coppice logs`");
    command->add_flag("-i,--interactive", options->interactive, "Hand standard input on");
    command->footer("Example: coppice run -d --name web -m 256m debian:3 -- nginx -g 'daemon off;'\n"
                    "Behind ROOT stands the command with its arguments, with or without `--` before it (default: the\n"
                    "vdisk's own, or /bin/sh).\n"
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
