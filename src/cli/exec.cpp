#include "attach.h"
#include "command.h"
#include "coppice/base/environment.h"
#include "coppice/base/text.h"
#include "coppice/instance/halt.h"
#include "coppice/os/file.h"
#include "coppice/os/unix_socket.h"
#include "coppice/runtime/console.h"
#include "coppice/runtime/container.h"
#include "run_options.h"

#include <CLI/CLI.hpp>
#include <csignal>
#include <fcntl.h>
#include <memory>
#include <unistd.h>

namespace coppice::cli {

namespace {

struct ExecOptions {
    std::string name, workdir, user;
    std::vector<std::string> env, env_files, command;
    bool interactive = false, terminal = false, detached = false;
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

Result<> lead_to_null(int stream, int flags)
{
    const auto null = TRY(os::open_at(os::kCwd, "/dev/null", flags));
    if (::dup2(null.get(), stream) < 0) return fail_os(errno, cat("lead stream ", stream, " to /dev/null"));
    return {};
}

Result<int> execute(const ExecOptions& options, const GlobalOptions& global)
{
    if (options.command.empty())
        return fail(Error{ErrorKind::Invalid, "no command given"}.hint("see: coppice exec --help"));
    if (options.detached && (options.interactive || options.terminal))
        return fail(ErrorKind::Invalid, "--detach does not go with --interactive or --tty");
    TRY(check_terminal_wish(options.terminal, options.interactive));
    const auto store = TRY(instance::InstanceStore::look(global.root));
    if (!TRY(store.is_running(options.name)))
        return fail(
            Error{ErrorKind::Conflict, cat("instance ", options.name, " is not running")}.hint("see: coppice ps -a"));
    runtime::ExecRequest request;
    request.id = options.name;
    request.ignore_paused = instance::is_halted(store, options.name); // which is over in a moment
    request.args = options.command;
    request.extra_env = TRY(environment_of(options.env_files, options.env));
    request.terminal = options.terminal;
    if (!options.workdir.empty()) request.cwd = options.workdir;
    if (!options.user.empty()) request.user = options.user;
    if (options.terminal && !find_variable(request.extra_env, "TERM")) request.extra_env.emplace_back("TERM=xterm");
    std::pair<os::Fd, os::Fd> console;
    if (options.terminal) {
        console = TRY(os::socket_pair());
        request.console.socket_fd = console.second.get();
    }
    if (!options.interactive && !options.terminal) TRY(lead_to_null(STDIN_FILENO, O_RDONLY));
    os::Fd said; // ours, while the streams are the command's
    if (options.detached) {
        said = os::Fd{::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1)};
        for (const int stream : {STDOUT_FILENO, STDERR_FILENO})
            TRY(lead_to_null(stream, O_WRONLY));
    }
    // Before the program starts, so that no signal for it ends us instead.
    const auto signals = TRY(os::SignalFd::make(os::forwardable_signals()));
    auto child = with_context(runtime::exec(TRY(store.runtime_root()), request), cat("exec in ", options.name));
    if (said.is_open() && ::dup2(said.get(), STDERR_FILENO) < 0) return fail_os(errno, "take standard error back");
    if (!child) return fail(std::move(child).error());
    if (options.detached) {
        (void)child->detach(); // reaped inside, or by whoever is our parent
        return 0;
    }
    console.second.reset();
    os::Fd terminal;
    if (options.terminal) terminal = TRY(runtime::receive_console(console.first));
    return attend(*child, std::move(terminal), options.interactive, signals);
}

} // namespace

void add_exec(CLI::App& app, Command& chosen)
{
    auto options = std::make_shared<ExecOptions>();
    CLI::App* const command = app.add_subcommand("exec", "Run one more command in a running instance");
    command->add_option("name", options->name, "Name of the instance")->type_name("NAME")->required();
    command->add_flag("-i,--interactive", options->interactive, "Hand standard input on");
    command->add_flag("-t,--tty", options->terminal, "Give it a terminal");
    command->add_flag("-d,--detach", options->detached, "Do not wait for it; what it prints is lost");
    command->add_option("-e,--env", options->env, "Environment variable, NAME=value, or NAME to hand our own on")
        ->type_name("NAME=value")
        ->allow_extra_args(false);
    command->add_option("--env-file", options->env_files, "File of NAME=value lines, before what -e gives")
        ->type_name("FILE")
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
