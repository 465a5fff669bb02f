#pragma once

#include "coppice/base/result.h"
#include "coppice/instance/store.h"

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace CLI { // NOLINT(readability-identifier-naming): the library's own
class App;
}

/// The commands of `coppice`. Each `add_*` declares one command with its options; when the user chose it, `chosen` is
/// set to what runs it. The value of a command is the exit status of the program.
namespace coppice::cli {

struct GlobalOptions {
    std::string root = instance::kDefaultRoot;
    std::string socket;                     ///< of the daemon; empty: the root's own
    std::vector<std::string> inner_command; ///< of `run`, `create` and `exec`: the words behind ROOT or NAME
};
using Command = std::function<Result<int>(const GlobalOptions&)>;

void add_run(CLI::App& app, Command& chosen);
void add_exec(CLI::App& app, Command& chosen);
void add_ps(CLI::App& app, Command& chosen);
void add_logs(CLI::App& app, Command& chosen);
void add_stats(CLI::App& app, Command& chosen);
void add_top(CLI::App& app, Command& chosen);
void add_stop(CLI::App& app, Command& chosen);
void add_rm(CLI::App& app, Command& chosen);
void add_create(CLI::App& app, Command& chosen);
void add_start(CLI::App& app, Command& chosen);
void add_restart(CLI::App& app, Command& chosen);
void add_kill(CLI::App& app, Command& chosen);
void add_pause(CLI::App& app, Command& chosen);
void add_resume(CLI::App& app, Command& chosen);
void add_wait(CLI::App& app, Command& chosen);
void add_attach(CLI::App& app, Command& chosen);
void add_inspect(CLI::App& app, Command& chosen);
void add_export(CLI::App& app, Command& chosen);
void add_import(CLI::App& app, Command& chosen);
void add_rename(CLI::App& app, Command& chosen);
void add_update(CLI::App& app, Command& chosen);
void add_keep(CLI::App& app, Command& chosen);
void add_undo(CLI::App& app, Command& chosen);
void add_vdisk(CLI::App& app, Command& chosen);
void add_cp(CLI::App& app, Command& chosen);
void add_snapshot(CLI::App& app, Command& chosen);
void add_branch(CLI::App& app, Command& chosen);
void add_commit(CLI::App& app, Command& chosen);
void add_rollback(CLI::App& app, Command& chosen);
void add_checkout(CLI::App& app, Command& chosen);
void add_tag(CLI::App& app, Command& chosen);
void add_merge(CLI::App& app, Command& chosen);
void add_log(CLI::App& app, Command& chosen);
void add_diff(CLI::App& app, Command& chosen);
void add_verify(CLI::App& app, Command& chosen);
void add_doctor(CLI::App& app, Command& chosen);
void add_operation(CLI::App& app, Command& chosen);
void add_events(CLI::App& app, Command& chosen);
void add_system(CLI::App& app, Command& chosen);
void add_completion(CLI::App& app, Command& chosen);

/// All of them, in the groups in which the help shows them.
void add_commands(CLI::App& app, Command& chosen);

/// Values of -e: NAME=value as it is; NAME alone takes our own value and counts for nothing when we have none.
/// Errors: Invalid (no name)
Result<std::vector<std::string>> environment_entries(const std::vector<std::string>& texts);

/// Errors: Denied, with a hint. @param doing "running an instance"
Result<> need_root(std::string_view doing);

/// The first word of the line that is no option: the command, or nullptr.
const char* command_word(const CLI::App& app, int argc, char** argv);

/// For options whose empty value would mean "not given": an unset variable in a script must not make somebody root.
std::string not_empty(const std::string& value);

/// Where our own part of the line ends: behind ROOT of `run` or NAME of `exec`. What follows belongs to the command
/// inside, whatever it looks like, with or without a "--" in front.
/// @return number of words of `argv` that are ours
int own_words(const CLI::App& app, int argc, char** argv);

} // namespace coppice::cli
