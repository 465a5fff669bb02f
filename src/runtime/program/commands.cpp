#include "commands.h"

#include "coppice/base/environment.h"
#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "coppice/os/event_loop.h"
#include "coppice/os/file.h"
#include "coppice/os/service.h"
#include "coppice/runtime/container.h"
#include "coppice/runtime/features.h"
#include "coppice/runtime/rootless.h"
#include "notify.h"

#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <poll.h>
#include <unistd.h>

namespace coppice::runtime_program {

namespace {

using runtime::StateRoot;

Result<std::string> absolute(const std::string& path)
{
    char* const resolved = ::realpath(path.c_str(), nullptr);
    if (resolved == nullptr) return fail_os(errno, path);
    std::string text{resolved};
    std::free(resolved);
    return text;
}

struct Bundle {
    std::string path; ///< absolute
    std::string config_text;
    runtime::Spec spec;
};

/// @param config instead of the bundle's own config.json
Result<Bundle> load_bundle(const std::string& path, const std::optional<std::string>& config)
{
    Bundle bundle{.path = TRY_DOING("bundle", absolute(path)), .config_text = {}, .spec = {}};
    const std::string file = config.value_or(bundle.path + "/config.json");
    // A file that is named may be a pipe to wait for; in a bundle nobody is waited for.
    const auto opened = os::open_at(os::kCwd, file, O_RDONLY | O_NOCTTY | (config ? 0 : O_NONBLOCK));
    if (!opened && opened.error().kind() == ErrorKind::NotFound && !config)
        return fail(Error{ErrorKind::NotFound, cat("bundle ", bundle.path, ": config.json not found")}.hint(
            cat("coppice-runtime spec -b ", bundle.path)));
    if (!opened) return fail(Error{opened.error()}.with("bundle"));
    bundle.config_text = TRY_DOING("bundle", os::read_all(*opened, runtime::kConfigMaxBytes, file));
    bundle.spec = TRY_DOING(config ? *config : cat("bundle ", bundle.path, ": config.json"),
                            runtime::parse_spec(bundle.config_text));
    return bundle;
}

/// How many sockets systemd opened, as descriptors from 3 on (socket activation): they are the container's, as runc
/// and crun have it. They have to be meant for us, or for the container's process 1: so podman writes before it starts
/// conmon, which starts us and cannot know our pid. Source: sd_listen_fds(3)
Result<unsigned> count_listen_fds()
{
    const char* const pid = std::getenv("LISTEN_PID");
    const char* const count = std::getenv("LISTEN_FDS");
    if (pid == nullptr || count == nullptr) return 0U;
    if (std::string_view{pid} != "1" && cat(::getpid()) != pid) return 0U; // meant for somebody else
    return static_cast<unsigned>(TRY_DOING("LISTEN_FDS", parse_integer(count, 0, kMostPreservedFds)));
}

Result<os::Process> create_container(const Options& options, const StateRoot& root, const std::string& id, bool start)
{
    const unsigned listen_fds = TRY(count_listen_fds());
    auto bundle = TRY(load_bundle(options.command.bundle, options.command.config));
    TRY(runtime::enter_user_namespace_of(bundle.spec));
    if (listen_fds > 0 && bundle.spec.process) {
        set_variable(bundle.spec.process->env, cat("LISTEN_FDS=", listen_fds));
        set_variable(bundle.spec.process->env, "LISTEN_PID=1");
    }
    const bool notify = !os::notify_socket().empty();
    if (notify) add_notify_socket(bundle.spec, TRY(absolute(root.path())), id);
    const std::string& path = bundle.spec.root_path;
    runtime::BundleRoot root_source{path.starts_with('/') ? path : cat(bundle.path, '/', path)};
    const runtime::CreateRequest request{.id = id,
                                         .bundle = bundle.path,
                                         .config_text = bundle.config_text,
                                         .console = {.socket_path = options.command.console_socket},
                                         .pid_file = options.command.pid_file,
                                         .preserve_fds = listen_fds + options.command.preserve_fds,
                                         .cgroup_driver = options.global.cgroup_driver,
                                         .no_pivot = options.command.no_pivot,
                                         .notify_directory = notify,
                                         .new_keyring = !options.command.no_new_keyring,
                                         .start = start};
    return runtime::create(root, bundle.spec, root_source, request);
}

/// Waits for a child and hands on every signal that is meant for it.
/// @param notify hands "ready" on meanwhile, once
Result<int> wait_forwarding(os::Process& child, const os::SignalFd& signals, std::optional<NotifyProxy> notify = {})
{
    os::Fd barrier; // open until the caller has read that the container is ready
    for (;;) {
        const int told_by = barrier.is_open() ? barrier.get() : notify ? notify->fd().get() : -1;
        std::array<pollfd, 3> waiting{{{.fd = child.pidfd().get(), .events = POLLIN, .revents = 0},
                                       {.fd = signals.fd().get(), .events = POLLIN, .revents = 0},
                                       {.fd = told_by, .events = POLLIN, .revents = 0}}};
        if (os::retry_eintr([&] { return ::poll(waiting.data(), waiting.size(), -1); }) < 0)
            return fail_os(errno, "wait for the container");
        while (const int signal = signals.next()) [[maybe_unused]]
            const auto sent = child.send(signal); // it may have ended just now
        if (waiting[2].revents != 0 && barrier.is_open()) {
            barrier.reset();
        } else if (waiting[2].revents != 0) {
            auto told = notify->forward(::getpid()); // we are the main process as long as we wait
            if (!told) log::warn("notify", told.error().line());
            if (told && *told) barrier = *std::move(*told);
            if (!told || barrier.is_open()) notify.reset(); // nobody listens to the container any more
        }
        if (waiting[0].revents == 0) continue;
        const auto ended = TRY(child.wait());
        if (barrier.is_open()) wait_for_caller(barrier);
        return ended.code;
    }
}

Result<int> run_container(const Options& options, const StateRoot& root)
{
    const auto id = TRY(one_argument(options.command));
    // Before anything starts: a signal that comes meanwhile is handed on, too, instead of ending us alone.
    const auto signals = TRY(os::SignalFd::make(os::forwardable_signals()));
    const bool notify = !os::notify_socket().empty(); // its proxy has to be there first
    auto init = TRY(create_container(options, root, id, !notify));
    std::optional<NotifyProxy> proxy;
    if (notify) {
        auto listening = NotifyProxy::listen(root, id);
        if (auto started = listening ? runtime::start(root, id) : Result<>{std::unexpect, listening.error()};
            !started) {
            [[maybe_unused]] const auto removed = runtime::remove(root, id, true); // the first error is the one to tell
            return fail(std::move(started).error());
        }
        proxy = *std::move(listening);
    }
    if (options.command.detach) {
        if (proxy) TRY(proxy->forward_until_ready(init.pidfd(), init.pid()));
        (void)init.detach();
        return 0;
    }
    const int status = TRY(wait_forwarding(init, signals, std::move(proxy)));
    if (!options.command.keep) TRY(runtime::remove(root, id, true));
    return status;
}

Result<int> exec_in_container(const Options& options, const StateRoot& root)
{
    const CommandOptions& chosen = options.command;
    if (chosen.arguments.empty())
        return fail(Error{ErrorKind::Invalid, "exec takes a container id and a command"}.hint(
            "see coppice-runtime exec --help"));
    runtime::ExecRequest request{.id = chosen.arguments.front(),
                                 .process = {},
                                 .args = {chosen.arguments.begin() + 1, chosen.arguments.end()},
                                 .extra_env = chosen.env,
                                 .cwd = chosen.cwd,
                                 .user = chosen.user,
                                 .terminal = chosen.terminal,
                                 .no_new_privileges = chosen.no_new_privileges,
                                 .ignore_paused = chosen.ignore_paused,
                                 .extra_capabilities = chosen.capabilities,
                                 .additional_gids = chosen.additional_gids,
                                 .apparmor_profile = chosen.apparmor_profile,
                                 .selinux_label = chosen.selinux_label,
                                 .sub_cgroups = chosen.cgroups,
                                 .console = {.socket_path = chosen.console_socket},
                                 .pid_file = chosen.pid_file,
                                 .preserve_fds = chosen.preserve_fds};
    if (chosen.process_file) {
        const auto text = TRY(os::read_file(os::kCwd, *chosen.process_file, runtime::kConfigMaxBytes));
        request.process = TRY_DOING(*chosen.process_file, runtime::parse_process(text));
    }
    if (!request.args.empty() && request.args.front() == "--") request.args.erase(request.args.begin());
    const auto signals = TRY(os::SignalFd::make(os::forwardable_signals()));
    auto child = TRY(runtime::exec(root, request));
    if (chosen.detach) {
        (void)child.detach();
        return 0;
    }
    return wait_forwarding(child, signals);
}

Result<int> print_state(const Options& options, const StateRoot& root)
{
    const auto id = TRY(one_argument(options.command));
    const auto directory = TRY(root.find(id));
    const auto record = TRY(directory.read_state());
    const auto status = TRY(runtime::status_of(directory, record));
    std::puts(runtime::to_state_json(record, status, true).c_str());
    return 0;
}

Result<int> kill_container(const Options& options, const StateRoot& root)
{
    const auto& arguments = options.command.arguments;
    if (arguments.empty() || arguments.size() > 2)
        return fail(Error{ErrorKind::Invalid, "kill takes a container id and a signal"}.hint(
            "see coppice-runtime kill --help"));
    const int signal = TRY(os::parse_signal(arguments.size() == 2 ? arguments[1] : "TERM"));
    TRY(runtime::kill(root, arguments[0], signal, options.command.all));
    return 0;
}

Result<> start_container(const StateRoot& root, const std::string& id)
{
    const auto notify = TRY(NotifyProxy::listen(root, id));
    TRY(runtime::start(root, id));
    if (!notify) return {};
    const auto record = TRY(TRY(root.find(id)).read_state());
    const auto init = TRY(os::ProcessRef::find(record.pid, record.start_time));
    return init ? notify->forward_until_ready(init->pidfd(), init->pid()) : Result<>{};
}

Result<int> write_example(const Options& options)
{
    const std::string path = options.command.bundle + "/config.json";
    const auto file = os::open_at(os::kCwd, path, O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (!file && file.error().os_errno() == EEXIST)
        return fail(Error{ErrorKind::Conflict, cat(path, " exists already")}.hint("remove it first"));
    if (!file) return fail(file.error());
    TRY(os::write_all(file->get(), runtime::example_config(options.command.rootless), path));
    return 0;
}

} // namespace

Result<std::string> one_argument(const CommandOptions& options)
{
    if (options.arguments.size() != 1)
        return fail(Error{ErrorKind::Invalid, cat(options.command, " takes one container id")}.hint(
            cat("see coppice-runtime ", options.command, " --help")));
    return options.arguments.front();
}

Result<int> run_command(const Options& options)
{
    if (options.command.command == "spec") return write_example(options);
    if (options.command.command == "features") {
        std::puts(runtime::features_json(COPPICE_VERSION).c_str());
        return 0;
    }
    const auto root = TRY(StateRoot::open(options.global.root.value_or(runtime::default_state_root())));
    const std::string& command = options.command.command;
    if (command == "create") {
        const auto id = TRY(one_argument(options.command));
        auto init = TRY(create_container(options, root, id, false));
        (void)init.detach(); // it lives on, to be reaped by whoever is our parent
        return 0;
    }
    if (command == "run") return run_container(options, root);
    if (command == "exec") return exec_in_container(options, root);
    if (command == "state") return print_state(options, root);
    if (command == "list") return list_containers(options, root);
    if (command == "kill") return kill_container(options, root);
    if (command == "update") return update_container(options, root);
    if (command == "pause") return pause_container(options, root);
    if (command == "resume") return resume_container(options, root);
    if (command == "events") return show_events(options, root);
    if (command == "ps") return list_processes(options, root);
    const auto id = TRY(one_argument(options.command));
    if (command == "start") TRY(start_container(root, id));
    if (command == "delete") TRY(runtime::remove(root, id, options.command.force));
    return 0;
}

} // namespace coppice::runtime_program
