#include "coppice/instance/supervisor.h"

#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/base/units.h"
#include "coppice/instance/id_range.h"
#include "coppice/instance/protocol.h"
#include "coppice/instance/store.h"
#include "coppice/os/event_loop.h"
#include "coppice/os/file.h"
#include "coppice/os/mount.h"
#include "coppice/os/namespace.h"
#include "coppice/os/terminal.h"
#include "coppice/os/unix_socket.h"
#include "coppice/runtime/console.h"
#include "coppice/runtime/container.h"
#include "coppice/vdisk/snapshot_mounts.h"
#include "device_nodes.h"
#include "health_monitor.h"
#include "oci_config.h"
#include "output_log.h"
#include "roots.h"
#include "watchers.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <list>
#include <memory>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

namespace coppice::instance {

namespace {

/// Too few descriptors must not keep us from cleaning up: takes what is allowed, and tells what was set.
rlimit raise_open_files()
{
    rlimit before{};
    ::getrlimit(RLIMIT_NOFILE, &before);
    const rlimit all{.rlim_cur = before.rlim_max, .rlim_max = before.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &all);
    return before;
}

/// Nothing that this process mounts may be seen on the host, nor outlive it.
Result<> enter_own_mount_namespace()
{
    TRY(os::leave_namespaces(CLONE_NEWNS));
    return os::set_mount_propagation(os::kCwd, "/", MS_SLAVE, true);
}

/// The instance as it is to run now: a new one, or the one that is there with its new command and limits.
struct Prepared {
    InstanceStore::Held held;
    InstanceConfig config;
    bool is_new;
    InstanceConfig before = {}; ///< of one that is there
};

Result<Prepared> prepare_new(const InstanceStore& store, InstanceConfig wanted)
{
    wanted.created = to_rfc3339(now());
    auto made = TRY(store.make(wanted));
    return Prepared{std::move(made), std::move(wanted), true};
}

Result<Prepared> prepare_instance(const InstanceStore& store, InstanceConfig wanted, bool by_policy)
{
    wanted.started.clear(); // "never ran": until it does, nothing of it is worth keeping
    auto held = store.hold(wanted.name);
    if (!held && held.error().kind() == ErrorKind::NotFound) return prepare_new(store, std::move(wanted));
    if (!held) return fail(std::move(held).error());
    const auto existing = TRY(store.read_config(wanted.name));
    if (!existing.is_kept()) { // what a killed run left; it was to be gone
        TRY(store.clean_up(*held, existing));
        held = fail(ErrorKind::NotFound, wanted.name);
        return prepare_new(store, std::move(wanted));
    }
    const auto differs = [&](std::string_view what, std::string_view has) {
        return fail(
            Error{ErrorKind::Conflict, cat("instance ", wanted.name, " exists already with ", what, ' ', has)}.hint(
                cat("choose another name, or remove it: coppice rm ", wanted.name)));
    };
    if (existing.root != wanted.root || existing.snapshot != wanted.snapshot) return differs("the root", existing.root);
    if (existing.mode != wanted.mode) return differs("the mode", to_word(existing.mode));
    if (wanted.remove_at_end && !existing.remove_at_end)
        return fail(
            Error{ErrorKind::Conflict, cat("instance ", wanted.name, " exists already; --rm would delete its writes")}
                .hint("leave --rm out, or choose another name"));
    TRY(store.clean_up(*held, existing)); // whatever a killed run left
    wanted.created = existing.created;
    wanted.awaits_start = existing.awaits_start;
    if (!wanted.awaits_start) wanted.started = to_rfc3339(now());
    wanted.finished.clear();
    wanted.exit_status.reset();
    wanted.end_note.clear();
    wanted.stop_asked = false;
    TRY(store.change(wanted.name, [&](InstanceConfig& config) -> Result<> {
        if (by_policy && config.stop_asked)
            return fail(ErrorKind::Conflict, cat("somebody has stopped instance ", wanted.name, " meanwhile"));
        config = wanted;
        return {};
    }));
    return Prepared{*std::move(held), std::move(wanted), false, existing};
}

class Supervisor {
public:
    /// @param starter not open when the daemon started the instance for nobody who waits
    /// @param daemon not open when the starter has made us itself
    Supervisor(os::Fd starter, os::Fd daemon, Launch launch, InstanceStore store, const rlimit& open_files)
        : starter_{std::move(starter)}, daemon_{std::move(daemon)}, launch_{std::move(launch)},
          store_{std::move(store)}, open_files_{open_files}
    {
    }

    /// Until the instance has started. Errors leave nothing behind.
    Result<> start();
    /// From then on until its end and clean-up.
    Result<Ended> finish();
    /// How it ended: first to the daemon, which does its part meanwhile and is waited for (or does it later, if it is
    /// not there), so that for the starter everything is over.
    void tell_end(Say word, const std::string& text);

private:
    Result<> create_and_start(Prepared& prepared);
    Result<std::unique_ptr<runtime::RootSource>> root_of(const Prepared& prepared);
    Result<> take_streams();
    Result<> open_input();
    Result<> announce(os::Fd terminal);
    Result<> keep_output();
    Result<> watch(os::EventLoop& loop);
    void watch_starter(os::EventLoop& loop);
    void watch_daemon(os::EventLoop& loop);
    Result<> watch_control(os::EventLoop& loop);
    void greet(os::EventLoop& loop, std::list<os::Fd>::iterator client);
    Result<> attach(os::Fd& client, bool with_streams);
    Result<> take_over(os::EventLoop& loop);
    void obey(const Heard& heard);
    Ended describe_end(os::ExitStatus status) const;
    void undo(const Prepared& prepared);

    os::Fd starter_, daemon_;
    os::Fd control_;              ///< where we are found
    std::list<os::Fd> newcomers_; ///< have connected there, and not said yet what they are
    Launch launch_;
    InstanceStore store_;
    rlimit open_files_; ///< the instance gets the starter's limit back
    std::optional<Prepared> prepared_;
    std::optional<IdRange> ids_;
    OutputLog output_; ///< of a detached instance
    os::Fd terminal_;  ///< its master
    os::Fd input_;     ///< of one that takes input: pipe's writing end or terminal
    Watchers watchers_;
    std::unique_ptr<HealthMonitor> health_;
    os::Fd console_; ///< a whole system's programs open and close it: held open, it is not hung up in between
    os::Process init_;
    os::CgroupPaths cgroup_;
    bool detached_ = false; ///< nobody attends it any more, or ever did
};

/// Of a starter that came by the daemon; one that made us gave us its own.
Result<> Supervisor::take_streams()
{
    if (!daemon_.is_open() || !starter_.is_open()) return {};
    const auto heard = TRY(hear(starter_));
    if (!heard) return fail(ErrorKind::Gone, "who started the instance has gone");
    if (heard->word != Say::Streams || heard->fds.size() > 3) return fail(ErrorKind::Invalid, "no streams came");
    for (std::size_t i = 0; i < heard->fds.size(); ++i)
        if (::dup2(heard->fds[i].get(), static_cast<int>(i)) < 0) return fail_os(errno, "take the streams over");
    return {};
}

/// Whoever attaches may write into it.
Result<> Supervisor::open_input()
{
    std::array<int, 2> ends{-1, -1};
    if (::pipe2(ends.data(), O_CLOEXEC) < 0) return fail_os(errno, "create a pipe");
    const os::Fd reading{ends[0]};
    input_ = os::Fd{ends[1]};
    if (::dup2(reading.get(), STDIN_FILENO) < 0) return fail_os(errno, "redirect the input");
    return {};
}

Result<std::unique_ptr<runtime::RootSource>> Supervisor::root_of(const Prepared& prepared)
{
    const InstanceConfig& config = prepared.config;
    if (!config.snapshot.empty()) return std::make_unique<DaemonRoot>(daemon_, ids_->first());
    auto image = TRY(vdisk::Image::open(config.root));
    const auto layer = TRY(vdisk::WorkingLayer::open(prepared.held.directory.get()));
    return std::make_unique<LayeredRoot>(std::move(image), layer, ids_->mapping(),
                                         config.mode == Mode::Shared ? vdisk::WorkingLayer::Durability::None
                                                                     : vdisk::WorkingLayer::Durability::Normal);
}

Result<> Supervisor::create_and_start(Prepared& prepared)
{
    InstanceConfig& config = prepared.config;
    TRY(take_streams());
    ids_.emplace(TRY(IdRange::take(kIdRangeLocks)));
    const auto root = TRY(root_of(prepared));
    const auto layout = TRY(os::CgroupLayout::detect());
    const std::string directory = cat(store_.root(), "/instances/", config.name);
    const auto devices = TRY(DeviceNodes::make(directory + "/devices", config.devices, ids_->mapping()));
    const auto own_files = TRY(make_own_files(config, launch_.init_program, layout, directory));
    const std::string oci_config = make_oci_config(config, ids_->mapping(), layout, store_.cgroup_of(config.name),
                                                   open_files_, devices.nodes(), own_files);
    const auto spec = TRY(runtime::parse_spec(oci_config));
    cgroup_ = TRY(os::plan_cgroup(layout, spec.linux_part.cgroups_path, spec.linux_part.limits));

    if (launch_.detached && !config.terminal) TRY(output_.redirect());
    if (launch_.detached && !config.terminal && config.open_input) TRY(open_input());
    std::pair<os::Fd, os::Fd> console;
    if (config.terminal) console = TRY(os::socket_pair());
    const auto runtime_root = TRY(store_.runtime_root());
    const runtime::CreateRequest request{.id = config.name,
                                         .bundle = directory,
                                         .config_text = oci_config,
                                         .console = {.socket_path = {}, .socket_fd = console.second.get()},
                                         .pid_file = {},
                                         .dies_with_caller = true};
    init_ = TRY(runtime::create(runtime_root, spec, *root, request));
    console.second.reset();
    os::Fd terminal;
    if (config.terminal) terminal = TRY(runtime::receive_console(console.first));
    if (config.boot) console_ = TRY(os::open_far_side(terminal));
    if (prepared.is_new || config.awaits_start) { // from here on it has writes of its own
        config.started = to_rfc3339(now());
        const bool is_told = config.awaits_start || !config.remove_at_end;
        config.awaits_start = false;
        const auto tell = [&](InstanceConfig& told) -> Result<> {
            told.started = config.started;
            told.awaits_start = false;
            return {};
        };
        if (is_told) TRY(store_.change(config.name, tell));
    }
    control_ = TRY(os::listen_in(prepared.held.directory.get(), kControlSocket));
    TRY(runtime::start(runtime_root, config.name));
    return announce(std::move(terminal));
}

/// That the program runs. The streams that it has got are not ours any more.
Result<> Supervisor::announce(os::Fd terminal)
{
    const auto let_go = [](std::initializer_list<int> streams) -> Result<> {
        const os::Fd null = TRY(os::open_at(os::kCwd, "/dev/null", O_RDWR));
        for (const int fd : streams)
            if (::dup2(null.get(), fd) < 0) return fail_os(errno, "let the streams go");
        return {};
    };
    const std::string& name = prepared_->config.name;
    if (daemon_.is_open()) TRY(say(daemon_, Say::Started, name));
    terminal_ = std::move(terminal);
    if (!launch_.detached) {
        if (daemon_.is_open()) TRY(let_go({STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}));
        return say(starter_, Say::Started, name,
                   terminal_.is_open() ? std::vector<int>{terminal_.get()} : std::vector<int>{});
    }
    TRY(keep_output());
    TRY(let_go({STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})); // the pipes must end with the instance, not with us
    return starter_.is_open() ? say(starter_, Say::Started, name) : Result<>{};
}

/// From now on its output goes to the log, and to those who watch.
Result<> Supervisor::keep_output()
{
    os::Fd reading;
    if (terminal_.is_open()) reading = TRY(terminal_.duplicate());
    if (terminal_.is_open() && prepared_->config.open_input) input_ = TRY(terminal_.duplicate());
    return output_.open(prepared_->held.directory.get(), log_limits(prepared_->config), std::move(reading),
                        [this](LogStream stream, std::string_view text) { watchers_.show(stream, text); });
}

void Supervisor::undo(const Prepared& prepared)
{
    init_ = os::Process{};
    ids_.reset(); // descriptors may be what there were too few of
    for (os::Fd* const fd : {&input_, &terminal_, &control_})
        fd->reset();
    output_ = OutputLog{};
    const auto undo_all = [&]() -> Result<> {
        if (prepared.is_new) return store_.remove(prepared.held, prepared.config.name);
        TRY(store_.clean_up(prepared.held, prepared.config));
        TRY(store_.change(prepared.config.name, [&](InstanceConfig& config) -> Result<> { // it has not run again
            const bool stop_asked = config.stop_asked;                                    // meanwhile
            config = prepared.before;
            config.stop_asked = stop_asked;
            return {};
        }));
        return {};
    };
    const auto undone = undo_all();
    // The first error is the one to tell; what is left is found by `coppice doctor`.
    (void)undone.has_value();
}

Result<> Supervisor::start()
{
    prepared_ = TRY(prepare_instance(store_, launch_.config, launch_.by_policy));
    auto started = create_and_start(*prepared_);
    if (!started) undo(*prepared_);
    // Our namespace began as a copy: without it in there, a branch that is mounted on the host is free for snapshots.
    if (started) [[maybe_unused]]
        const auto detached = os::detach_mounts("overlay", vdisk::kMountSource);
    return started;
}

void Supervisor::obey(const Heard& heard)
{
    if (heard.word != Say::Signal) return;
    if (const auto signal = parse_integer(heard.text, 1, SIGRTMAX)) [[maybe_unused]]
        const auto sent = init_.send(static_cast<int>(*signal)); // it may just have ended
}

/// Who started it leaves it to us.
Result<> Supervisor::take_over(os::EventLoop& loop)
{
    detached_ = true;
    if (launch_.detached || !terminal_.is_open()) return {};
    TRY(keep_output());
    return output_.watch(loop);
}

void Supervisor::watch_starter(os::EventLoop& loop)
{
    const auto heard = hear(starter_);
    const bool has_left = heard && *heard && (*heard)->word == Say::Detach;
    if (has_left) detached_ = take_over(loop).has_value();
    if (heard && *heard && !has_left) return obey(**heard);
    loop.remove(starter_);
    starter_.reset();
    // An attached instance ends with its starter, however that ended.
    if (!detached_) [[maybe_unused]]
        const auto sent = init_.send(SIGKILL);
}

/// The daemon may go and another one come: that is nothing to the instance.
void Supervisor::watch_daemon(os::EventLoop& loop)
{
    const auto watched = loop.add(daemon_, EPOLLIN, [this, &loop](std::uint32_t) {
        const auto heard = hear(daemon_);
        if (heard && *heard) return obey(**heard);
        loop.remove(daemon_);
        daemon_.reset();
    });
    if (!watched) daemon_.reset(); // it comes back
}

Result<> Supervisor::attach(os::Fd& client, bool with_streams)
{
    if (with_streams && !detached_)
        return fail(
            Error{ErrorKind::Conflict, cat("instance ", prepared_->config.name, " is attended by who started it")}.hint(
                "its output is seen there; more commands run with: coppice exec"));
    return watchers_.add(std::move(client), with_streams, terminal_.is_open(), input_);
}

/// Somebody has connected to the control socket, and says what it is.
void Supervisor::greet(os::EventLoop& loop, std::list<os::Fd>::iterator client)
{
    loop.remove(*client);
    os::Fd socket = std::move(*client);
    newcomers_.erase(client);
    const auto heard = hear(socket);
    if (!heard || !*heard) return;
    if ((*heard)->word == Say::Daemon) {
        if (daemon_.is_open()) loop.remove(daemon_);
        daemon_ = std::move(socket);
        return watch_daemon(loop);
    }
    if ((*heard)->word != Say::Attach) return;
    if (const auto attached = attach(socket, (*heard)->text == kAttachStreams); !attached && socket.is_open())
        [[maybe_unused]]
        const auto said = say(socket, Say::Failed, encode(attached.error()));
}

Result<> Supervisor::watch_control(os::EventLoop& loop)
{
    return loop.add(control_, EPOLLIN, [this, &loop](std::uint32_t) {
        constexpr std::size_t kMost = 16; // that have connected and say nothing
        auto came = os::accept_from(control_);
        if (!came) return; // it has gone again
        if (newcomers_.size() == kMost) {
            loop.remove(newcomers_.front());
            newcomers_.pop_front();
        }
        const auto client = newcomers_.insert(newcomers_.end(), *std::move(came));
        if (!loop.add(*client, EPOLLIN, [this, &loop, client](std::uint32_t) { greet(loop, client); }))
            newcomers_.erase(client);
    });
}

Result<> Supervisor::watch(os::EventLoop& loop)
{
    TRY(loop.add(init_.pidfd(), EPOLLIN, [&](std::uint32_t) { loop.stop(); }));
    if (starter_.is_open())
        TRY(loop.add(starter_, EPOLLIN, [&](std::uint32_t) { watch_starter(loop); }));
    else
        detached_ = true;
    TRY(watch_control(loop));
    if (daemon_.is_open()) watch_daemon(loop);
    TRY(output_.watch(loop));
    if (const auto& check = prepared_->config.health)
        health_ = TRY(HealthMonitor::begin(loop, *check, TRY(store_.runtime_root()), prepared_->config.name,
                                           prepared_->held.directory, [this](Health health) {
                                               if (daemon_.is_open()) [[maybe_unused]]
                                                   const auto said = say(daemon_, Say::Health, to_word(health));
                                           }));
    return {};
}

Ended Supervisor::describe_end(os::ExitStatus status) const
{
    Ended ended{.status = status.code, .note = {}};
    if (launch_.config.memory_bytes && os::oom_kills(cgroup_).value_or(0) > 0)
        ended.note = cat("the memory limit of ", format_bytes(launch_.config.memory_bytes.value_or(0)),
                         " was reached and the kernel killed a process");
    return ended;
}

Result<Ended> Supervisor::finish()
{
    auto loop = TRY(os::EventLoop::make());
    const auto signals = TRY(os::SignalFd::make({SIGTERM, SIGINT, SIGHUP, SIGQUIT}));
    TRY(loop.add(signals.fd(), EPOLLIN, [&](std::uint32_t) {
        while (const int signal = signals.next()) [[maybe_unused]]
            const auto sent = init_.send(signal);
    }));
    TRY(watch(loop));
    TRY(loop.run());
    health_.reset();
    const auto status = TRY(init_.wait());
    console_.reset();
    auto ended = describe_end(status);
    output_.drain();
    // First of all clean up: what filled a disk may go by this, and is gone in any case.
    TRY(store_.clean_up(prepared_->held, prepared_->config));
    if (prepared_->config.remove_at_end) return ended;
    const auto saved = store_.change(prepared_->config.name, [&](InstanceConfig& config) -> Result<> {
        config.exit_status = status.code;
        config.end_note = ended.note;
        config.finished = to_rfc3339(now());
        config.undecided = config.on_stop == OnStop::Ask;
        return {};
    });
    if (!saved)
        ended.note += cat(ended.note.empty() ? "" : "; ", "its exit status is not recorded: ", saved.error().line());
    return ended;
}

void Supervisor::tell_end(Say word, const std::string& text)
{
    if (daemon_.is_open() && say(daemon_, word, text)) {
        constexpr int kPatienceMs = 30'000;
        for (bool settled = false; !settled;) {
            const auto came = os::wait_for_message(daemon_, kPatienceMs);
            const auto heard = came && *came ? hear(daemon_) : Result<std::optional<Heard>>{};
            settled = !heard || !*heard || (*heard)->word == Say::Settled; // or it has gone, or is slow
        }
    }
    if (starter_.is_open()) [[maybe_unused]]
        const auto said = say(starter_, word, text); // it may have gone
    watchers_.tell(word, text);
}

} // namespace

int supervise(os::Fd socket)
{
    const rlimit open_files = raise_open_files();
    ::signal(SIGPIPE, SIG_IGN);
    const auto failed = [&](const Error& error) {
        [[maybe_unused]] const auto said = say(socket, Say::Failed, encode(error)); // the starter may have gone
        return 1;
    };
    auto first = hear(socket);
    if (!first || !*first || (*first)->word != Say::Launch) return 1;
    auto launch = parse_launch((*first)->text);
    if (!launch) return failed(launch.error());
    if (const auto alone = enter_own_mount_namespace(); !alone) return failed(alone.error());
    auto store = InstanceStore::open(launch->store_root);
    if (!store) return failed(store.error());

    const bool by_daemon = launch->by_daemon;
    os::Fd starter, daemon;
    (by_daemon ? daemon : starter) = std::move(socket);
    if (by_daemon) starter = (*first)->take_fd();
    Supervisor supervisor{std::move(starter), std::move(daemon), *std::move(launch), *std::move(store), open_files};
    if (const auto started = supervisor.start(); !started) {
        supervisor.tell_end(Say::Failed, encode(started.error()));
        return 1;
    }
    const auto ended = supervisor.finish();
    supervisor.tell_end(ended ? Say::Ended : Say::Failed, ended ? to_text(*ended) : encode(ended.error()));
    return ended ? 0 : 1;
}

} // namespace coppice::instance
