#include "attach.h"
#include "attend.h"
#include "coppice/base/text.h"
#include "daemon_link.h"
#include "declare.h"
#include "instances.h"
#include "run_options.h"
#include "undecided.h"

#include <cstdio>
#include <unistd.h>

namespace coppice::cli {

namespace {

struct StartOptions {
    std::vector<std::string> names;
    bool attached = false, interactive = false;
};

api::Client::Call start_of(const std::string& name, bool attach)
{
    return {.method = "POST", .target = instance_target(name, "/start"), .body = nlohmann::json{{"attach", attach}}};
}

Result<int> start_attached(const StartOptions& options, const GlobalOptions& global)
{
    const std::string& name = options.names.front();
    const auto store = TRY(instance::InstanceStore::look(global.root));
    const auto config = TRY_DOING(cat("start ", name), store.read_config(name));
    const auto signals = TRY(os::SignalFd::make(os::forwardable_signals()));
    if (!options.interactive && !config.terminal) TRY(close_input());
    const auto client = TRY(reach_daemon(global));
    auto link = TRY_DOING(cat("start ", name), client.open_link(start_of(name, true)));
    auto running =
        TRY_DOING(cat("start ", name), instance::RunningInstance::join(std::move(link), name, config.terminal));
    const int status = TRY(attend(running, options.interactive, signals));
    TRY(ask_if_undecided(name, global));
    return status;
}

Result<int> run_start(const StartOptions& options, const GlobalOptions& global)
{
    if (options.attached || options.interactive) return start_attached(options, global);
    const auto client = TRY(reach_daemon(global));
    return for_each(options.names, [&](const std::string& name) -> Result<> {
        TRY_DOING(cat("start ", name), client.call(start_of(name, false)));
        return {};
    });
}

std::string start_complaint(const StartOptions& options)
{
    if ((options.attached || options.interactive) && options.names.size() > 1) return "-a and -i take one instance";
    return "";
}

struct AttachOptions {
    std::string name;
    bool no_input = false;
};

Result<int> run_attach(const AttachOptions& options, const GlobalOptions& global)
{
    const auto store = TRY(instance::InstanceStore::look(global.root));
    const auto signals = TRY(os::SignalFd::make(os::forwardable_signals()));
    auto running =
        TRY_DOING(cat("attach ", options.name), instance::RunningInstance::attach(store, options.name, true));
    return attend(running, !options.no_input, signals);
}

Result<int> create(const RunOptions& options, const GlobalOptions& global)
{
    TRY(need_root("making an instance"));
    const auto config = TRY(make_config(options));
    const auto client = TRY(reach_daemon(global));
    nlohmann::json body{{"config", nlohmann::json::parse(instance::to_json(config))}, {"start", false}};
    TRY_DOING(cat("create ", config.name),
              client.call({.method = "POST", .target = "/v1/instances", .body = std::move(body)}));
    std::puts(config.name.c_str());
    return 0;
}

} // namespace

void add_create(CLI::App& app, Command& chosen)
{
    auto options = std::make_shared<RunOptions>();
    CLI::App* const command = app.add_subcommand("create", "Make an instance without starting it");
    declare_instance(*command, *options);
    command->add_flag("-i,--interactive", options->interactive, "It takes input: see `coppice attach`");
    command->footer("Example: coppice create --name web --restart unless-stopped debian -- nginx -g 'daemon off;'\n"
                    "Then: coppice start web");
    command->callback([options, &chosen] {
        chosen = [options](const GlobalOptions& global) {
            options->command = global.inner_command;
            options->detached = true; // as far as anybody knows
            return create(*options, global);
        };
    });
}

void add_start(CLI::App& app, Command& chosen)
{
    auto [command, options] = declare<StartOptions>(app, "start", "Start instances that have stopped, or never run",
                                                    chosen, run_start, start_complaint);
    command.add_option("names", options.names, "Names of the instances")
        ->type_name("NAME")
        ->required()
        ->check(&not_empty);
    command.add_flag("-a,--attach", options.attached, "Show what it writes, and end with it");
    command.add_flag("-i,--interactive", options.interactive, "The same, and hand standard input on");
    command.footer("Example: coppice start web");
}

void add_attach(CLI::App& app, Command& chosen)
{
    auto [command, options] = declare<AttachOptions>(
        app, "attach", "See what a running instance writes, and give it input", chosen, run_attach);
    command.add_option("name", options.name, "Name of the instance")->type_name("NAME")->required()->check(&not_empty);
    command.add_flag("--no-stdin", options.no_input, "Give it no input");
    command.footer(
        "Example: coppice attach web\n"
        "Only what it writes from now on is shown; before: coppice logs. Ctrl-P Ctrl-Q leaves one that has a\n"
        "terminal; without one Ctrl-C goes to the instance, as all signals do.");
}

} // namespace coppice::cli
