#include "command.h"
#include "coppice/base/text.h"
#include "coppice/instance/look.h"
#include "table.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

namespace coppice::cli {

namespace {

struct PsOptions {
    bool all = false, quiet = false;
    std::string format = "table";
};

std::string joined(const std::vector<std::string>& words)
{
    std::string text;
    for (const std::string& word : words)
        text += cat(text.empty() ? "" : " ", word);
    return text;
}

/// As it can be told without the daemon.
std::string status_of(const instance::InstanceStore& store, const instance::InstanceConfig& config, bool runs)
{
    if (runs && instance::is_paused(store, config.name)) return "paused";
    if (runs) {
        const auto health = instance::read_health(store, config.name);
        return health ? cat("running (", to_word(health->health), ')') : "running";
    }
    if (config.awaits_start) return "created";
    if (config.undecided) return "undecided";
    if (!config.exit_status) return "stopped";
    return cat("exited ", *config.exit_status, config.end_note.empty() ? "" : " (!)");
}

std::string pid_of(const instance::InstanceStore& store, const std::string& name)
{
    const auto init = instance::find_init(store, name);
    return init ? cat(init->pid()) : "";
}

Result<int> list(const PsOptions& options, const GlobalOptions& global)
{
    const auto form = TRY(Table::parse_form(options.format));
    const auto store = TRY(instance::InstanceStore::look(global.root));
    Table table{{"name", "status", "mode", "pid", "started", "root", "command"}};
    const auto names = TRY(store.list());
    for (const std::string& name : names) {
        const auto config = store.read_config(name);
        const auto running = store.is_running(name);
        if (!running) continue; // removed while we looked
        if (!*running && !options.all) continue;
        if (options.quiet) {
            std::puts(name.c_str());
            continue;
        }
        if (!config) {
            if (config.error().kind() != ErrorKind::NotFound) table.add({name, "damaged", "", "", "", "", ""});
            continue;
        }
        table.add({name, status_of(store, *config, *running), std::string{instance::to_word(config->mode)},
                   *running ? pid_of(store, name) : "", config->started, config->root, joined(config->command)});
    }
    if (!options.quiet) std::fputs(table.print(form).c_str(), stdout);
    return 0;
}

} // namespace

void add_ps(CLI::App& app, Command& chosen)
{
    auto options = std::make_shared<PsOptions>();
    CLI::App* const command = app.add_subcommand("ps", "List instances");
    command->add_flag("-a,--all", options->all, "Stopped ones too");
    command->add_flag("-q,--quiet", options->quiet, "Names only");
    command->add_option("--format", options->format, "Form of the output (default: table)")
        ->type_name("table|json|csv");
    command->footer("Example: coppice ps -a --format json");
    command->callback(
        [options, &chosen] { chosen = [options](const GlobalOptions& global) { return list(*options, global); }; });
}

} // namespace coppice::cli
