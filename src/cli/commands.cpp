#include "command.h"

#include <CLI/CLI.hpp>
#include <vector>

namespace coppice::cli {

namespace {

using Add = void (*)(CLI::App&, Command&);
struct Group {
    const char* name;
    std::vector<Add> commands;
};

} // namespace

void add_commands(CLI::App& app, Command& chosen)
{
    const std::vector<Group> groups{
        {"Instances", {add_run,    add_create, add_start,  add_stop,   add_restart, add_kill, add_pause, add_resume,
                       add_wait,   add_attach, add_exec,   add_ps,     add_inspect, add_logs, add_stats, add_top,
                       add_update, add_rename, add_export, add_import, add_rm,      add_keep, add_undo}},
        {"Vdisks", {add_vdisk, add_tag, add_cp, add_verify}},
        {"History", {add_snapshot, add_log, add_diff, add_branch, add_commit, add_rollback, add_checkout, add_merge}},
        {"System", {add_doctor, add_operation, add_events, add_system, add_completion}},
    };
    for (const auto& [name, commands] : groups)
        for (const Add add : commands) {
            add(app, chosen);
            app.get_subcommands([](const CLI::App*) { return true; }).back()->group(name);
        }
}

} // namespace coppice::cli
