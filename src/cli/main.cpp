// coppice: the command line.

#include "command.h"
#include "completion.h"
#include "coppice/base/json.h"
#include "coppice/base/json_text.h"
#include "coppice/os/executable.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <string_view>
#include <sys/prctl.h>
#include <unistd.h>

namespace {

using coppice::ErrorKind;

/// Whatever reaches the daemon is JSON. The words of `run` and `exec` are looked at where they are stored.
const char* word_that_is_no_text(std::string_view command, int count, char** words)
{
    if (command == "run" || command == "exec") return nullptr;
    char** const found =
        std::find_if_not(words, words + count, [](const char* word) { return coppice::is_utf8(word); });
    return found == words + count ? nullptr : *found;
}

/// Docker's exit statuses: of `run` and `exec` what stands below 125 is the command's own.
int exit_status_of(const coppice::Error& error, std::string_view command)
{
    if (command != "run" && command != "exec") return 1;
    if (error.kind() == ErrorKind::CommandNotFound) return 127;
    if (error.kind() == ErrorKind::CommandNotExecutable) return 126;
    return 125;
}

bool is_command(const CLI::App& app, std::string_view word)
{
    const auto commands = app.get_subcommands([](const CLI::App*) { return true; });
    return std::any_of(commands.begin(), commands.end(),
                       [&](const CLI::App* command) { return command->get_name() == word; });
}

} // namespace

int main(int argc, char** argv)
{
    using namespace coppice;
    CLI::App app{"One kernel, one golden image, many isolated instances.", "coppice"};
    cli::GlobalOptions global;
    cli::Command chosen;
    app.add_option("--root", global.root, "Where instances are kept (default: /var/lib/coppice)")->type_name("DIR");
    app.add_option("--socket", global.socket, "Where coppiced listens (default: the root's own place)")
        ->type_name("PATH");
    app.set_version_flag("--version", "coppice version " COPPICE_VERSION);
    app.require_subcommand(1);
    cli::add_commands(app, chosen);

    if (argc > 1 && argv[1] == cli::kCompleteWord) return cli::print_completion(app, {argv + 2, argv + argc});
    const int own_count = cli::own_words(app, argc, argv);
    const bool dashes = own_count < argc && std::string_view{argv[own_count]} == "--";
    global.inner_command.assign(argv + own_count + (dashes ? 1 : 0), argv + argc);

    try { // CLI11 speaks in exceptions; this is the outermost frame
        app.parse(own_count, argv);
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) return app.exit(error); // --help, --version
        const char* const word = cli::command_word(app, argc, argv);
        const bool known = word != nullptr && is_command(app, word);
        if (word != nullptr && !known)
            std::fprintf(stderr, "coppice: there is no command '%s' (see: coppice --help)\n", word);
        else
            std::fprintf(stderr, "coppice: %s (see: coppice %s--help)\n", error.what(),
                         known ? (std::string{word} + ' ').c_str() : "");
        return known && (std::string_view{word} == "run" || std::string_view{word} == "exec") ? 125 : 2;
    }
    const std::string command = app.get_subcommands().front()->get_name();
    if (const char* const word = word_that_is_no_text(command, own_count, argv); word != nullptr) {
        std::fprintf(stderr, "coppice: %s is not UTF-8 (see: coppice %s --help)\n", json_quote(word).c_str(),
                     command.c_str());
        return 2;
    }
    if (command == "exec") { // a copy of this process enters the instance
        auto safe = cli::need_root("entering an instance");
        if (safe) safe = os::protect_own_executable(argv, environ);
        if (!safe) {
            std::fprintf(stderr, "coppice: %s\n", safe.error().line().c_str());
            return 125;
        }
        ::prctl(PR_SET_NAME, "coppice");
    }
    const auto status = chosen(global);
    if (status) return *status;
    std::fprintf(stderr, "coppice: %s\n", status.error().line().c_str());
    return exit_status_of(status.error(), command);
}
