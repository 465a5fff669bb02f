#include "attach.h"
#include "command.h"
#include "coppice/base/environment.h"
#include "coppice/base/text.h"
#include "coppice/instance/halt.h"
#include "coppice/os/file.h"
#include "coppice/os/unix_socket.h"
#include "coppice/runtime/console.h"
#include "coppice/runtime/container.h"

#include <CLI/CLI.hpp>
#include <csignal>
#include <fcntl.h>
#include <memory>
#include <unistd.h>

namespace coppice::cli {

namespace {

struct ExecOptions {
    std::string name, workdir, user;
    std::vector<std::string> env, command;
    bool interactive = false, terminal = false;
};

Result<int> attend(os::Process& child, os::Fd terminal, bool interactive, const os::SignalFd& signals)
{
    const Attachment attachment{.signals = signals,
                                .send = [&](int signal) { return child.send(signal); },
                                .events = child.pidfd(),
                                .is_over = [] { return true; }};
    auto streams = TRY(Streams::of_terminal(std::move(terminal), interactive));
    if (TRY(stay_attached(attachment, std::move(streams))) == Over::HungUp) return kHungUpStatus;
    return TRY(child.wait()).code;
}

Result<int> execute(const ExecOptions& options, const GlobalOptions& global)
{
    if (options.command.empty())
        return fail(Error{ErrorKind::Invalid, "no command given"}.hint("see: coppice exec --help"));
    TRY(check_terminal_wish(options.terminal, options.interactive));
    const auto store = TRY(instance::InstanceStore::look(global.root));
    if (!TRY(store.is_running(options.name)))
        return fail(
            Error{ErrorKind::Conflict, cat("instance ", options.name, " is not running")}.hint("see: coppice ps -a"));
    runtime::ExecRequest request;
    request.id = options.name;
    request.ignore_paused = instance::is_halted(store, options.name); // which is over in a moment
    request.args = options.command;
    request.extra_env = TRY(environment_entries(options.env));
    request.terminal = options.terminal;
    if (!options.workdir.empty()) request.cwd = options.workdir;
    if (!options.user.empty()) request.user = options.user;
    if (options.terminal && !find_variable(request.extra_env, "TERM")) request.extra_env.emplace_back("TERM=xterm");
    std::pair<os::Fd, os::Fd> console;
    if (options.terminal) {
        console = TRY(os::socket_pair());
        request.console.socket_fd = console.second.get();
    }
    if (!options.interactive) {
        const auto null = TRY(os::open_at(os::kCwd, "/dev/null", O_RDONLY));
        if (!options.terminal && ::dup2(null.get(), STDIN_FILENO) < 0) return fail_os(errno, "close standard input");
    }
    // Before the program starts, so that no signal for it ends us instead.
    const auto signals = TRY(os::SignalFd::make(os::forwardable_signals()));
    auto child = TRY_DOING(cat("exec in ", options.name), runtime::exec(TRY(store.runtime_root()), request));
    console.second.reset();
    os::Fd terminal;
    if (options.terminal) terminal = TRY(runtime::receive_console(console.first));
    return attend(child, std::move(terminal), options.interactive, signals);
}

} // namespace

void add_exec(CLI::App& app, Command& chosen)
{
    auto options = std::make_shared<ExecOptions>();
    CLI::App* const command = app.add_subcommand("exec", "Run one more command in a running instance");
    command->add_option("name", options->name, "Name of the instance")->type_name("NAME")->required();
    command->add_flag("-i,--interactive", options->interactive, "Hand standard input on");
    command->add_flag("-t,--tty", options->terminal, "Give it a terminal");
    command->add_option("-e,--env", options->env, "Environment variable, NAME=value, or NAME to hand our own on")
        ->type_name("NAME=value")
        ->allow_extra_args(false);
    command->add_option("-w,--workdir", options->workdir, "Working directory inside")->type_name("PATH-INSIDE");
    command->add_option("-u,--user", options->user, "USER[:GROUP], names or numbers, looked up inside")
        ->type_name("USER")
        ->check(&not_empty);
    command->footer("Example: coppice exec -it web /bin/sh\n"
                    "Exit status as `coppice run`.");
    command->callback([options, &chosen] {
        chosen = [options](const GlobalOptions& global) {
            options->command = global.inner_command;
            return execute(*options, global);
        };
    });
}

} // namespace coppice::cli
