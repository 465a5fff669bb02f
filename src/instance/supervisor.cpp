#include "coppice/instance/supervisor.h"

#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/base/units.h"
#include "coppice/instance/id_range.h"
#include "coppice/instance/log_file.h"
#include "coppice/instance/store.h"
#include "coppice/os/event_loop.h"
#include "coppice/os/file.h"
#include "coppice/os/mount.h"
#include "coppice/os/namespace.h"
#include "coppice/os/unix_socket.h"
#include "coppice/runtime/console.h"
#include "coppice/runtime/container.h"
#include "coppice/vdisk/image.h"
#include "coppice/vdisk/working_layer.h"
#include "device_nodes.h"
#include "oci_config.h"
#include "protocol.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

namespace coppice::instance {

namespace {

/// Plugs image and working layer into the runtime.
class LayeredRoot final : public runtime::RootSource {
public:
    LayeredRoot(vdisk::Image image, vdisk::WorkingLayer layer, os::UserMapping mapping,
                vdisk::WorkingLayer::Durability durability)
        : image_{std::move(image)}, layer_{layer}, mapping_{std::move(mapping)}, durability_{durability}
    {
    }

    Result<os::Fd> attach(const os::Fd& user_namespace) override
    {
        auto lower = TRY(image_.mount());
        return layer_.mount_over(std::move(lower), image_.path(), user_namespace, mapping_, durability_);
    }

private:
    vdisk::Image image_;
    vdisk::WorkingLayer layer_;
    os::UserMapping mapping_;
    vdisk::WorkingLayer::Durability durability_;
};

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
};

Result<Prepared> prepare_new(const InstanceStore& store, InstanceConfig wanted)
{
    wanted.created = to_rfc3339(now());
    auto made = TRY(store.make(wanted));
    return Prepared{std::move(made), std::move(wanted), true};
}

Result<Prepared> prepare_instance(const InstanceStore& store, InstanceConfig wanted)
{
    wanted.started.clear(); // "never ran": until it does, nothing of it is worth keeping
    auto held = store.hold(wanted.name);
    if (!held && held.error().kind() == ErrorKind::NotFound) return prepare_new(store, std::move(wanted));
    if (!held) return fail(std::move(held).error());
    const auto existing = TRY(store.read_config(wanted.name));
    if (existing.remove_at_end || existing.started.empty()) { // what a killed run left; it was to be gone
        TRY(store.clean_up(*held, existing));
        held = fail(ErrorKind::NotFound, wanted.name);
        return prepare_new(store, std::move(wanted));
    }
    const auto differs = [&](std::string_view what, std::string_view has) {
        return fail(
            Error{ErrorKind::Conflict, cat("instance ", wanted.name, " exists already with ", what, ' ', has)}.hint(
                cat("choose another name, or remove it: coppice rm ", wanted.name)));
    };
    if (existing.root != wanted.root) return differs("the root", existing.root);
    if (existing.mode != wanted.mode) return differs("the mode", to_word(existing.mode));
    if (wanted.remove_at_end)
        return fail(
            Error{ErrorKind::Conflict, cat("instance ", wanted.name, " exists already; --rm would delete its writes")}
                .hint("leave --rm out, or choose another name"));
    TRY(store.clean_up(*held, existing)); // whatever a killed run left
    wanted.created = existing.created;
    wanted.started = to_rfc3339(now());
    TRY(InstanceStore::write_config(held->directory, wanted));
    return Prepared{*std::move(held), std::move(wanted), false};
}

class Supervisor {
public:
    Supervisor(os::Fd socket, Launch launch, InstanceStore store, const rlimit& open_files)
        : socket_{std::move(socket)}, launch_{std::move(launch)}, store_{std::move(store)}, open_files_{open_files}
    {
    }

    /// Until the instance has started. Errors leave nothing behind.
    Result<> start();
    /// From then on until its end and clean-up.
    Result<Ended> finish();

private:
    Result<> create_and_start(Prepared& prepared);
    Result<> redirect_output();
    Result<> connect_log(const os::Fd& source);
    Result<> watch(os::EventLoop& loop);
    void drain();
    Ended describe_end(os::ExitStatus status) const;
    void undo(const Prepared& prepared);

    os::Fd socket_;
    Launch launch_;
    InstanceStore store_;
    rlimit open_files_; ///< the instance gets the starter's limit back
    std::optional<Prepared> prepared_;
    std::optional<IdRange> ids_;
    std::optional<LogFile> log_;
    os::Fd output_; ///< of a detached instance: pipe's reading end or terminal's master
    os::Process init_;
    os::CgroupPaths cgroup_;
    bool detached_ = false; ///< the starter has taken its leave
};

Result<> Supervisor::redirect_output()
{
    if (!launch_.detached || launch_.config.terminal) return {};
    std::array<int, 2> ends{-1, -1};
    if (::pipe2(ends.data(), O_CLOEXEC) < 0) return fail_os(errno, "create a pipe");
    output_ = os::Fd{ends[0]};
    const os::Fd writing{ends[1]};
    for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) // the container takes them over as they are
        if (::dup2(writing.get(), fd) < 0) return fail_os(errno, "redirect the output");
    return {};
}

Result<> Supervisor::create_and_start(Prepared& prepared)
{
    InstanceConfig& config = prepared.config;
    ids_.emplace(TRY(IdRange::take(kIdRangeLocks)));
    auto image = TRY(vdisk::Image::open(config.root));
    const auto layer = TRY(vdisk::WorkingLayer::open(prepared.held.directory.get()));
    const bool undone = config.mode == Mode::Shared;
    LayeredRoot root{std::move(image), layer, ids_->mapping(),
                     undone ? vdisk::WorkingLayer::Durability::None : vdisk::WorkingLayer::Durability::Normal};
    const auto layout = TRY(os::CgroupLayout::detect());
    const std::string directory = cat(store_.root(), "/instances/", config.name);
    const auto devices = TRY(DeviceNodes::make(directory + "/devices", config.devices, ids_->mapping()));
    const std::string oci_config =
        make_oci_config(config, ids_->mapping(), layout, store_.cgroup_of(config.name), open_files_, devices.nodes());
    const auto spec = TRY(runtime::parse_spec(oci_config));
    cgroup_ = TRY(os::plan_cgroup(layout, spec.linux_part.cgroups_path, spec.linux_part.limits));

    TRY(redirect_output());
    std::pair<os::Fd, os::Fd> console;
    if (config.terminal) console = TRY(os::socket_pair());
    const auto runtime_root = TRY(store_.runtime_root());
    const runtime::CreateRequest request{.id = config.name,
                                         .bundle = directory,
                                         .config_text = oci_config,
                                         .console = {.socket_path = {}, .socket_fd = console.second.get()},
                                         .pid_file = {},
                                         .dies_with_caller = true};
    init_ = TRY(runtime::create(runtime_root, spec, root, request));
    console.second.reset();
    os::Fd terminal;
    if (config.terminal) terminal = TRY(runtime::receive_console(console.first));
    if (prepared.is_new) { // from here on it has writes of its own
        config.started = to_rfc3339(now());
        if (!config.remove_at_end) TRY(InstanceStore::write_config(prepared.held.directory, config));
    }
    TRY(runtime::start(runtime_root, config.name));
    if (!launch_.detached) return say(socket_, Say::Started, config.name, terminal.get());
    log_ = TRY(LogFile::open(prepared.held.directory.get()));
    if (config.terminal) output_ = std::move(terminal);
    const os::Fd null = TRY(os::open_at(os::kCwd, "/dev/null", O_RDWR));
    for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) // the pipe must end with the instance, not with us
        if (::dup2(null.get(), fd) < 0) return fail_os(errno, "let the output go");
    return say(socket_, Say::Started, config.name);
}

void Supervisor::undo(const Prepared& prepared)
{
    init_ = os::Process{};
    ids_.reset(); // descriptors may be what there were too few of
    output_.reset();
    log_.reset();
    const auto undone = prepared.is_new ? store_.remove(prepared.held, prepared.config.name)
                                        : store_.clean_up(prepared.held, prepared.config);
    // The first error is the one to tell; what is left is found by `coppice doctor`.
    (void)undone.has_value();
}

Result<> Supervisor::start()
{
    prepared_ = TRY(prepare_instance(store_, launch_.config));
    auto started = create_and_start(*prepared_);
    if (!started) undo(*prepared_);
    return started;
}

void Supervisor::drain()
{
    std::array<char, 65536> buffer{};
    const auto got = os::retry_eintr([&] { return ::read(output_.get(), buffer.data(), buffer.size()); });
    if (got <= 0) {      // the end of a pipe, or EIO of a terminal that nobody has open any more
        output_.reset(); // epoll forgets a closed descriptor by itself
        return;
    }
    // A full disk must not stop the instance: its output is lost, its work is not.
    if (log_) [[maybe_unused]]
        const auto appended = log_->append({buffer.data(), static_cast<std::size_t>(got)});
}

Result<> Supervisor::watch(os::EventLoop& loop)
{
    TRY(loop.add(init_.pidfd(), EPOLLIN, [&](std::uint32_t) { loop.stop(); }));
    TRY(loop.add(socket_, EPOLLIN, [&](std::uint32_t) {
        const auto heard = hear(socket_);
        if (heard && *heard) {
            if ((*heard)->word == Say::Detach) detached_ = true;
            if ((*heard)->word == Say::Signal)
                if (const auto signal = parse_integer((*heard)->text, 1, SIGRTMAX)) [[maybe_unused]]
                    const auto sent = init_.send(static_cast<int>(*signal)); // it may just have ended
            return;
        }
        loop.remove(socket_);
        // An attached instance ends with its starter, however that ended.
        if (!detached_) [[maybe_unused]]
            const auto sent = init_.send(SIGKILL);
    }));
    if (output_.is_open()) TRY(loop.add(output_, EPOLLIN, [&](std::uint32_t) { drain(); }));
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
    const auto status = TRY(init_.wait());
    auto ended = describe_end(status);
    while (output_.is_open())
        drain();
    // First of all clean up: what filled a disk may go by this, and is gone in any case.
    TRY(store_.clean_up(prepared_->held, prepared_->config));
    prepared_->config.exit_status = status.code;
    if (prepared_->config.remove_at_end) return ended;
    if (const auto saved = InstanceStore::write_config(prepared_->held.directory, prepared_->config); !saved)
        ended.note += cat(ended.note.empty() ? "" : "; ", "its exit status is not recorded: ", saved.error().line());
    return ended;
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
    const auto first = hear(socket);
    if (!first || !*first || (*first)->word != Say::Launch) return 1;
    auto launch = parse_launch((*first)->text);
    if (!launch) return failed(launch.error());
    if (const auto alone = enter_own_mount_namespace(); !alone) return failed(alone.error());
    auto store = InstanceStore::open(launch->store_root);
    if (!store) return failed(store.error());

    auto ours = socket.duplicate();
    if (!ours) return failed(ours.error());
    Supervisor supervisor{*std::move(ours), *std::move(launch), *std::move(store), open_files};
    if (const auto started = supervisor.start(); !started) return failed(started.error());
    const auto ended = supervisor.finish();
    if (!ended) return failed(ended.error());
    [[maybe_unused]] const auto said = say(socket, Say::Ended, to_text(*ended));
    return 0;
}

} // namespace coppice::instance
