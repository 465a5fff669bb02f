#include "init.h"

#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/namespace.h"
#include "coppice/os/netlink.h"
#include "coppice/os/syscalls.h"
#include "coppice/os/user_namespace.h"
#include "coppice/runtime/console.h"
#include "hooks.h"
#include "labels.h"
#include "process_setup.h"
#include "scheduling.h"

#include <cerrno>
#include <csignal>
#include <grp.h>
#include <linux/keyctl.h>
#include <optional>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace coppice::runtime {

namespace {

Result<> join_namespaces(const std::vector<NamespaceToJoin>& namespaces, const LinuxSpec& spec)
{
    if (spec.has_user_namespace()) return {}; // born in all of them: from inside there would be no right to
    for (const NamespaceToJoin& ns : namespaces)
        // Of pid the creator has taken care: it takes effect at birth only. The mounts come last, see rootfs.cpp.
        if (ns.flag != CLONE_NEWPID && ns.flag != CLONE_NEWNS)
            TRY_DOING("linux.namespaces", os::enter_namespace(ns.fd, ns.flag));
    return {};
}

/// Clocks can be set only in a time namespace that nobody is in yet. Source: time_namespaces(7)
Result<> enter_time_namespace(const LinuxSpec& spec)
{
    if (!spec.has_new_namespace(os::sys::kCloneNewTime)) return {};
    TRY_DOING("time namespace", os::leave_namespaces(os::sys::kCloneNewTime));
    for (const auto& [clock, offset] : spec.time_offsets)
        TRY_DOING("time namespace", os::write_control(os::kCwd, "/proc/self/timens_offsets",
                                                      cat(clock, ' ', offset.seconds, ' ', offset.nanoseconds)));
    const auto ns = TRY(os::open_at(os::kCwd, "/proc/self/ns/time_for_children", O_RDONLY));
    return with_context(os::enter_namespace(ns, os::sys::kCloneNewTime), "time namespace");
}

Result<> set_names(const Spec& spec)
{
    if (!spec.hostname.empty() && ::sethostname(spec.hostname.data(), spec.hostname.size()) < 0)
        return fail_os(errno, cat("set the host name ", spec.hostname));
    if (!spec.domainname.empty() && ::setdomainname(spec.domainname.data(), spec.domainname.size()) < 0)
        return fail_os(errno, cat("set the domain name ", spec.domainname));
    return {};
}

Result<> switch_loopback_on(const LinuxSpec& spec)
{
    if (!spec.has_new_namespace(CLONE_NEWNET)) return {};
    auto socket = TRY(os::RouteSocket::open());
    return with_context(socket.set_link_up(os::kLoopbackIndex), "loopback");
}

/// Inside a new user namespace nobody is anybody until the creator has written the id maps.
Result<> become_namespace_root(const LinuxSpec& spec)
{
    if (!spec.has_user_namespace()) return {};
    const bool is_new = spec.has_new_namespace(CLONE_NEWUSER); // else the kernel knows the mapping, and tells below
    if (is_new && (!os::to_outside(spec.mapping.uids, 0) || !os::to_outside(spec.mapping.gids, 0)))
        return fail(ErrorKind::Unsupported, "linux.uidMappings: id 0 must be mapped");
    if (::setgroups(0, nullptr) < 0 && errno != EPERM) return fail_os(errno, "drop the supplementary groups");
    return os::become_root();
}

/// The mounts come in messages of limited size, an empty one being the last.
Result<std::vector<os::Fd>> receive_mounts(const Channel& channel)
{
    std::vector<os::Fd> all;
    for (;;) {
        auto message = TRY(channel.expect(Word::Mounts));
        if (message.fds.empty()) return all;
        for (os::Fd& fd : message.fds)
            all.push_back(std::move(fd));
    }
}

/// Asks the creator for what mounts need of the host, as their turn comes.
class PartsFromCreator {
public:
    explicit PartsFromCreator(const Channel& channel) : channel_{&channel} {}
    Result<os::Fd> next()
    {
        if (waiting_.empty()) {
            TRY(channel_->say(Word::Parts));
            waiting_ = TRY(channel_->expect(Word::Parts)).fds;
            COPPICE_CHECK(!waiting_.empty());
        }
        os::Fd first = std::move(waiting_.front());
        waiting_.erase(waiting_.begin());
        return first;
    }

private:
    const Channel* channel_;
    std::vector<os::Fd> waiting_;
};

RootfsParts take_parts(InitContext& context, std::vector<os::Fd> fds, PartsFromCreator& parts_from_creator)
{
    COPPICE_CHECK(!fds.empty());
    RootfsParts parts{.root = std::move(fds.front()),
                      .devices = {},
                      .next_host_part = [&parts_from_creator] { return parts_from_creator.next(); },
                      .mount_namespace = {}};
    for (std::size_t i = 1; i < fds.size(); ++i)
        parts.devices.push_back(std::move(fds[i]));
    for (NamespaceToJoin& ns : context.namespaces)
        if (ns.flag == CLONE_NEWNS) parts.mount_namespace = std::move(ns.fd);
    context.namespaces.clear();
    return parts;
}

/// Closes whatever the creator had open, and forgets its umask: nothing of the host may be within reach when foreign
/// code runs, not even below /proc/self/fd (CVE-2024-21626). The copies of the creator's objects are never destroyed
/// here.
Result<> let_go_of_the_host(const InitContext& context)
{
    std::vector<int> keep{context.channel.socket().get(), context.listener.get(), context.console_socket.get()};
    for (const os::Fd& file : context.cgroup_join_files)
        keep.push_back(file.get());
    for (const NamespaceToJoin& ns : context.namespaces)
        keep.push_back(ns.fd.get());
    log::configure("coppice-runtime", STDERR_FILENO, log::Format::Text, log::Level::Warn); // its file goes next
    ::umask(kDefaultUmask);
    return os::close_all_but(3 + context.request.preserve_fds, std::move(keep));
}

/// Everything between birth and waiting for the start. Returns the program, ready to be executed, and the filter.
Result<std::pair<PreparedProgram, SeccompFilter>> set_up(InitContext& context)
{
    const Spec& spec = context.spec;
    const LinuxSpec& linux_part = spec.linux_part;
    TRY(let_go_of_the_host(context));
    // Killed with the creator until the creation is complete.
    TRY(os::die_with_parent(SIGKILL));
    TRY(os::join_by(context.cgroup_join_files));
    context.cgroup_join_files.clear();
    if (context.awaits_placement) TRY(context.channel.expect(Word::Placed));
    TRY(join_namespaces(context.namespaces, linux_part));
    if (linux_part.has_new_namespace(os::sys::kCloneNewCgroup)) // its root is the cgroup that we are in at this moment
        TRY_DOING("cgroup namespace", os::leave_namespaces(os::sys::kCloneNewCgroup));
    PartsFromCreator parts_from_creator{context.channel};
    auto parts = take_parts(context, TRY(receive_mounts(context.channel)), parts_from_creator);
    auto labels = TRY(ExecLabels::open(*spec.process));
    TRY(enter_time_namespace(linux_part)); // while this process owns its own files in procfs
    TRY(become_namespace_root(linux_part));
    TRY(os::die_with_parent(SIGKILL)); // the change of ids made the kernel forget it
    // From here on other processes of the container, when there are any, may not look into this one, which still has
    // the creator's memory and descriptors.
    if (::prctl(PR_SET_DUMPABLE, 0) < 0) return fail_os(errno, "make the process undumpable");
    TRY(set_names(spec));
    TRY(switch_loopback_on(linux_part));
    ::setsid(); // may be a session leader already
    if (context.request.new_keyring) TRY(new_session_keyring());

    const auto before_pivot = [&]() -> Result<> {
        if (!spec.hooks.prestart.empty() || !spec.hooks.create_runtime.empty()) {
            TRY(context.channel.say(Word::Hooks));
            TRY(context.channel.expect(Word::Hooks));
        }
        return run_hooks(spec.hooks.create_container, "createContainer",
                         to_state_json(context.record, Status::Creating, false));
    };
    const auto terminal = TRY(enter_rootfs(spec, context.rootfs, std::move(parts), before_pivot));
    if (terminal) {
        if (const auto& size = spec.process->console_size)
            TRY(os::set_terminal_size(terminal->slave, size->first, size->second));
        TRY(send_console(context.console_socket, *terminal));
        TRY(os::adopt_terminal(terminal->slave));
        context.console_socket.reset();
    }
    auto program = TRY(prepare_program(*spec.process));
    program.labels = std::move(labels);
    TRY(apply_scheduling(*spec.process, linux_part));
    // It is to outlive its creator, which may be gone before the next line runs. Should the creator be killed before it
    // has said "finish", the end of the channel tells.
    if (!context.request.dies_with_caller) TRY(os::die_with_parent(0));
    TRY(context.channel.say(Word::Ready));
    auto finish = TRY(context.channel.expect(Word::Finish));
    return std::pair{std::move(program), decode_filter(finish.bytes)};
}

/// Waits until somebody connects and says so. A connection that says nothing only wanted to know whether we wait;
/// whoever keeps it open in silence (being stopped by a signal) must not keep others from starting us.
Result<os::Fd> wait_for_start(const os::Fd& listener)
{
    constexpr int kPatienceMs = 1000;
    for (;;) {
        auto connection = TRY(os::accept_from(listener));
        if (!TRY(os::wait_for_message(connection, kPatienceMs))) continue;
        const auto message = os::receive_message(connection, 16);
        if (message && message->bytes == "start" && os::send_message(connection, "taken")) return connection;
    }
}

int exit_code_of(const Error& error)
{
    switch (error.kind()) {
    case ErrorKind::CommandNotFound: return 127;
    case ErrorKind::CommandNotExecutable: return 126;
    default: return 1;
    }
}

} // namespace

Result<> new_session_keyring()
{
    if (::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr) < 0 && errno != ENOSYS)
        return fail_os(errno, "join a session keyring");
    return {};
}

int run_init(InitContext& context)
{
    context.record.pid = ::getpid(); // for hooks inside: as it is seen there
    auto ready = set_up(context);
    if (!ready) {
        context.channel.report(ready.error());
        return exit_code_of(ready.error());
    }
    auto& [program, filter] = *ready;
    std::optional<Channel> started; // by whom
    if (context.listener.is_open()) {
        auto connection = wait_for_start(context.listener);
        if (!connection) return 1;
        context.listener.reset(); // a second start finds nobody, or is hung up on
        started.emplace(std::move(*connection));
    }
    const Channel& starter = started ? *started : context.channel;
    const auto run = [&]() -> Result<> {
        TRY(run_hooks(context.spec.hooks.start_container, "startContainer",
                      to_state_json(context.record, Status::Created, false)));
        return execute(*context.spec.process, program, filter, starter, context.request.preserve_fds,
                       context.request.dies_with_caller);
    };
    const auto failed = run();
    starter.report(failed.error());
    return exit_code_of(failed.error());
}

} // namespace coppice::runtime
