#include "channel.h"
#include "coppice/base/environment.h"
#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/mount.h"
#include "coppice/os/namespace.h"
#include "coppice/os/terminal.h"
#include "coppice/os/unix_socket.h"
#include "coppice/os/user_namespace.h"
#include "coppice/runtime/console.h"
#include "coppice/runtime/container.h"
#include "init.h"
#include "labels.h"
#include "listener.h"
#include "process_setup.h"
#include "scheduling.h"
#include "syscall_filter.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <grp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

namespace coppice::runtime {

namespace {

/// The container's own process with the changes that were asked for.
Result<ProcessSpec> process_for(const ExecRequest& request, const Spec& spec)
{
    if (request.process) return *request.process;
    ProcessSpec process = *spec.process;
    if (request.args.empty()) return fail(ErrorKind::Invalid, "no command to execute");
    process.args = request.args;
    process.terminal = request.terminal.value_or(false);
    process.console_size.reset();
    for (const std::string& entry : request.extra_env)
        set_variable(process.env, entry);
    if (request.cwd) process.cwd = *request.cwd;
    if (request.user) {
        if (request.user->empty())
            return fail(ErrorKind::Invalid, "the user is empty; give USER, UID, or either with :GROUP");
        process.user.lookup = *request.user;
        process.user.additional_gids.clear(); // the other user's
    }
    process.user.additional_gids.insert(process.user.additional_gids.end(), request.additional_gids.begin(),
                                        request.additional_gids.end());
    if (request.apparmor_profile) process.apparmor_profile = *request.apparmor_profile;
    if (request.selinux_label) process.selinux_label = *request.selinux_label;
    if (request.no_new_privileges) process.no_new_privileges = true;
    for (const std::string& name : request.extra_capabilities) {
        const auto bit = os::find_capability(name);
        if (bit == 0) return fail(ErrorKind::Invalid, cat("unknown capability '", name, "'"));
        process.capabilities.bounding |= bit;
        process.capabilities.permitted |= bit;
        process.capabilities.effective |= bit;
    }
    return process;
}

/// @param root open when it is not the root of a mount namespace, which comes with that
Result<> join(const os::ProcessRef& init, std::uint64_t flags, const os::Fd& root)
{
    if ((flags & CLONE_NEWUSER) != 0) ::setgroups(0, nullptr); // inside it may be forbidden
    if (flags != 0) TRY_DOING("enter the container", os::enter_namespaces_of(init.pidfd(), flags));
    if (root.is_open()) TRY_DOING("enter the container", os::change_root_of_process(root.get()));
    return (flags & CLONE_NEWUSER) == 0 ? Result<>{} : os::become_root();
}

/// The body of the new process: enters the container and executes. Silence on the channel is success.
int run_inside(const os::ProcessRef& init, std::uint64_t flags, const LinuxSpec& spec, const ProcessSpec& process,
               const SeccompFilter& filter, const ExecRequest& request, const std::vector<os::Fd>& cgroup_join_files,
               bool new_keyring, const Channel& channel, os::Fd console_socket)
{
    const auto run = [&]() -> Result<> {
        std::vector<int> keep{channel.socket().get(), console_socket.get(), init.pidfd().get()};
        for (const os::Fd& file : cgroup_join_files)
            keep.push_back(file.get());
        TRY(os::close_all_but(3 + request.preserve_fds, std::move(keep)));
        TRY(os::join_by(cgroup_join_files));
        TRY(set_oom_score(process, "self", os::is_host_root()));
        TRY(set_affinity(process.exec_affinity_final, "final"));
        auto labels = TRY(ExecLabels::open(process));
        os::Fd init_root;
        if (!spec.has_own_mounts())
            init_root = TRY(os::open_at(os::kCwd, cat("/proc/", init.pid(), "/root"), O_PATH | O_DIRECTORY));
        TRY(join(init, flags, init_root));
        init_root.reset();
        ::setsid();
        if (new_keyring) TRY(new_session_keyring());
        if (process.terminal) {
            const auto root = TRY(os::open_at(os::kCwd, "/", O_PATH | O_DIRECTORY));
            const auto pty = TRY_DOING("terminal", os::open_pty(root.get(), "dev/pts/ptmx"));
            if (process.console_size)
                TRY(os::set_terminal_size(pty.slave, process.console_size->first, process.console_size->second));
            TRY(send_console(console_socket, pty));
            TRY(os::adopt_terminal(pty.slave));
            console_socket.reset();
        }
        auto program = TRY(prepare_program(process));
        program.labels = std::move(labels);
        TRY(apply_scheduling(process, spec));
        return execute(process, program, filter, channel, request.preserve_fds, false);
    };
    const auto failed = run();
    channel.report(failed.error());
    return 1;
}

/// The container's cgroup, or cgroups below it.
Result<os::CgroupPaths> cgroup_of(const StateRecord& record, const std::vector<std::string>& sub_cgroups)
{
    os::CgroupPaths paths = record.cgroup;
    for (const std::string& choice : sub_cgroups) {
        const auto refuse = [&choice](std::string_view why) {
            return fail(ErrorKind::Invalid, cat("--cgroup ", choice, ": ", why));
        };
        const auto colon = choice.find(':');
        const std::string path = colon == std::string::npos ? choice : choice.substr(colon + 1);
        if (path.empty() || cat('/', path, '/').find("/../") != std::string::npos)
            return refuse("the path must name a cgroup below the container's");
        if (colon == std::string::npos) {
            if (!paths.v2.empty()) paths.v2 += cat('/', path);
            for (auto& [controller, directory] : paths.v1)
                directory += cat('/', path);
            continue;
        }
        for (std::string_view rest{choice.data(), colon}; !rest.empty();) {
            const auto controller = next_part(rest, ',');
            const auto found = paths.v1.find(std::string{controller});
            if (found == paths.v1.end()) return refuse(cat("the container has no cgroup of controller ", controller));
            found->second += cat('/', path);
        }
    }
    return paths;
}

/// A cgroup with controllers on for children of its own takes no process itself: then where the init is now.
Result<os::Fd> open_cgroup(const StateRecord& record, const os::CgroupPaths& paths)
{
    if (paths.v2.empty()) return os::Fd{};
    const auto below = os::read_file(os::kCwd, paths.v2 + "/cgroup.subtree_control", 4096);
    std::string directory = paths.v2;
    if (below && below->find_first_not_of('\n') != std::string::npos) {
        const auto layout = TRY(os::CgroupLayout::detect());
        directory = layout.v2_mount() + TRY(os::v2_path_of(record.pid));
    }
    return os::open_at(os::kCwd, directory, O_RDONLY | O_DIRECTORY);
}

} // namespace

Result<os::Process> exec(const StateRoot& root, const ExecRequest& request)
{
    TRY(check_preserved_fds(request.preserve_fds));
    const auto directory = TRY(root.find(request.id));
    const auto record = TRY(directory.read_state());
    const auto init = TRY(os::ProcessRef::find(record.pid, record.start_time));
    const auto status = TRY(status_of(directory, record));
    if (status == Status::Paused && !request.ignore_paused)
        return fail(
            Error{ErrorKind::Conflict, cat("cannot exec in a paused container: ", request.id)}.hint("resume it first"));
    if (!init || status == Status::Stopped || status == Status::Creating)
        return fail(ErrorKind::Conflict, cat("cannot exec in a ", to_word(status), " container: ", request.id));
    const auto config = TRY(directory.read_config());
    const auto spec = TRY(parse_spec(config));
    const auto process = TRY(process_for(request, spec));
    SeccompFilter filter;
    if (spec.linux_part.seccomp) filter = TRY(compile_seccomp(*spec.linux_part.seccomp, root.fd().get()));
    // From the first entry on, what is inside may be hostile and must not look into this process, nor into its child.
    if (::prctl(PR_SET_DUMPABLE, 0) < 0) return fail_os(errno, "make the process undumpable");
    if (::geteuid() != 0) // its owner has the rights that are needed inside its user namespace only: a way of no return
        TRY_DOING("enter the container",
                  os::become_root_of(TRY(os::open_namespace_of(record.pid, *os::find_namespace_kind("user")))));
    auto console_socket = TRY_DOING("terminal", open_console_socket(request.console, process.terminal));
    const auto flags = TRY(os::differing_namespaces(record.pid));
    const auto paths = TRY(cgroup_of(record, request.sub_cgroups));
    const auto cgroup = TRY(open_cgroup(record, paths));
    const auto join_files = TRY(os::open_join_files(paths));
    TRY(set_affinity(process.exec_affinity_initial, "initial")); // the child inherits it
    auto [ours, theirs] = TRY(os::socket_pair());

    // Born in the container's pid namespace; it enters the others by itself, so that we stay outside.
    const auto own_pid_ns = TRY(os::open_at(os::kCwd, "/proc/self/ns/pid", O_RDONLY));
    if (flags & CLONE_NEWPID) {
        const auto pid_ns = TRY(os::open_namespace_of(record.pid, *os::find_namespace_kind("pid")));
        TRY(os::enter_namespace(pid_ns, CLONE_NEWPID));
    }
    // What was looked up by number belongs to the container only if the number was still its own at the end.
    if (TRY(init->wait_gone(0)))
        return fail(ErrorKind::Conflict, cat("cannot exec in a stopped container: ", request.id));
    auto cloned = os::clone_process({.cgroup = cgroup.get()});
    const bool is_child = cloned && cloned->pid == 0;
    // For what a long-lived caller starts later. In a user namespace (rootless podman) there is no right to go back.
    if ((flags & CLONE_NEWPID) && !is_child && os::is_host_root()) TRY(os::enter_namespace(own_pid_ns, CLONE_NEWPID));
    auto forked = TRY(std::move(cloned));
    if (is_child) {
        {
            const auto closed = std::move(ours);
        }
        const Channel channel{std::move(theirs)};
        ::_exit(run_inside(*init, flags & ~static_cast<std::uint64_t>(CLONE_NEWPID), spec.linux_part, process, filter,
                           request, join_files, record.new_keyring, channel, std::move(console_socket)));
    }
    os::Process child{forked.pid, std::move(forked.pidfd)};
    theirs.reset();
    const Channel channel{std::move(ours)};
    for (Word word{};;) {
        const auto answer = channel.listen(word);
        // The peer closed its end without a word: the program has been executed.
        if (!answer && answer.error().kind() == ErrorKind::Gone) break;
        if (!answer) return fail(answer.error());
        COPPICE_CHECK(word == Word::Listener && spec.linux_part.seccomp);
        TRY(hand_over_listener(child.pidfd(), *answer, *spec.linux_part.seccomp, record, child.pid(), status, channel));
    }
    if (request.pid_file) TRY_DOING("pid file", os::replace_file(os::kCwd, *request.pid_file, cat(child.pid()), 0644));
    return child;
}

} // namespace coppice::runtime
