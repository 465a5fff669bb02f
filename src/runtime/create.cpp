#include "birth.h"
#include "coppice/base/id.h"
#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/os/file.h"
#include "coppice/os/namespace.h"
#include "coppice/os/syscalls.h"
#include "coppice/os/user_namespace.h"
#include "coppice/runtime/console.h"
#include "coppice/runtime/container.h"
#include "delegation.h"
#include "devices.h"
#include "guard.h"
#include "hooks.h"
#include "init.h"
#include "placement.h"
#include "process_setup.h"
#include "resctrl.h"
#include "start.h"
#include "syscall_filter.h"
#include "sysctl.h"

#include <algorithm>
#include <cerrno>
#include <sched.h>
#include <span>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

namespace coppice::runtime {

namespace {

constexpr std::size_t kFdsPerMessage = 200;

/// Everything found out before anything is made.
struct Preparation {
    bool host_root = false; ///< see os::is_host_root
    RootfsPlan rootfs;
    StateRecord record;
    std::vector<NamespaceToJoin> namespaces;
    os::Fd console_socket;
    Placement placement;
};

Result<Preparation> prepare(const Spec& spec, const CreateRequest& request)
{
    if (!spec.process) return fail(ErrorKind::Invalid, "config.json has no process");
    TRY(check_preserved_fds(request.preserve_fds));
    TRY(check_sysctls(spec.linux_part));
    auto layout = TRY(os::CgroupLayout::detect());
    StateRecord record;
    record.id = request.id;
    record.bundle = request.bundle;
    record.oci_version = spec.version;
    record.root_path = spec.root_path.starts_with('/') ? spec.root_path : cat(request.bundle, '/', spec.root_path);
    record.created = to_rfc3339(now());
    record.owner = ::geteuid();
    record.annotations = spec.annotations;
    record.nonce = random_hex(16);
    record.new_keyring = request.new_keyring;
    if (const auto& rdt = spec.linux_part.intel_rdt) record.resctrl = own_resctrl_group(*rdt, request.id);
    const bool host_root = os::is_host_root();
    auto placement = TRY(Placement::plan(spec, request, layout, host_root, record));
    auto rootfs = TRY(plan_rootfs(spec, std::move(layout), record.cgroup, request.no_pivot));
    auto namespaces = TRY(open_namespaces(spec.linux_part, !spec.hostname.empty() || !spec.domainname.empty()));
    auto console = TRY_DOING("terminal", open_console_socket(request.console, spec.process->terminal));
    return Preparation{host_root,          std::move(rootfs),   std::move(record), std::move(namespaces),
                       std::move(console), std::move(placement)};
}

std::vector<int> numbers_of(std::span<const os::Fd> fds)
{
    std::vector<int> numbers;
    for (const os::Fd& fd : fds)
        numbers.push_back(fd.get());
    return numbers;
}

/// The user namespace that the container is in when it is not the creator's, else not open.
Result<os::Fd> prepare_users(const LinuxSpec& spec, pid_t pid)
{
    if (!spec.has_user_namespace()) return os::Fd{};
    if (spec.has_new_namespace(CLONE_NEWUSER)) TRY(os::write_id_maps(pid, spec.mapping));
    return os::open_namespace_of(pid, *os::find_namespace_kind("user"));
}

Result<> send_mounts(const Channel& channel, const Preparation& prepared, RootSource& root_source,
                     const os::Fd& user_namespace)
{
    std::vector<os::Fd> mounts;
    mounts.push_back(TRY(root_source.attach(user_namespace)));
    const bool slave = prepared.rootfs.propagation.first == MS_SLAVE;
    TRY(os::set_mount_propagation(mounts.front().get(), "", slave ? MS_SLAVE : MS_PRIVATE, true));
    if (user_namespace.is_open() || !prepared.host_root) // where nobody may make device nodes
        for (os::Fd& device : TRY(open_device_mounts(prepared.rootfs.devices)))
            mounts.push_back(std::move(device));
    for (std::size_t first = 0; first < mounts.size(); first += kFdsPerMessage) {
        const auto last = std::min(first + kFdsPerMessage, mounts.size());
        TRY(channel.say(Word::Mounts, {}, numbers_of({mounts.data() + first, mounts.data() + last})));
    }
    return channel.say(Word::Mounts);
}

/// The error of an init that ended without a word, with what the kernel knows of it.
Error died_silently(os::Process& init, const os::CgroupPaths& cgroup, const Error& error)
{
    Error told = error;
    if (error.kind() != ErrorKind::Gone) return told;
    const auto status = init.wait();
    if (os::oom_kills(cgroup).value_or(0) > 0)
        return Error{ErrorKind::Unavailable,
                     "the container was killed while it was set up: its memory limit is too low"}
            .hint("raise its memory limit");
    if (status)
        told =
            Error{ErrorKind::Unavailable, cat("the container's init died while it was set up, status ", status->code)};
    return told;
}

/// The creator's half of the conversation until the container waits for its start.
Result<> complete(const StateRoot& root, const Spec& spec, Preparation& prepared, RootSource& root_source,
                  const CreateRequest& request, const ContainerDirectory& directory, const Channel& channel)
{
    StateRecord& record = prepared.record;
    const pid_t pid = record.pid;
    const auto user_namespace = TRY(prepare_users(spec.linux_part, pid));
    if (auto sent = send_mounts(channel, prepared, root_source, user_namespace); !sent) {
        Word word{};
        if (sent.error().os_errno() == EPIPE) TRY(channel.listen(word)); // the init said why before it went
        return sent;
    }
    TRY(set_oom_score(*spec.process, cat(pid), prepared.host_root));
    if (const auto& rdt = spec.linux_part.intel_rdt) TRY(join_resctrl(*rdt, prepared.record.id, pid));
    SeccompFilter filter;
    if (spec.linux_part.seccomp) filter = TRY(compile_seccomp(*spec.linux_part.seccomp, root.fd().get()));

    log::debug("create", "init is being set up",
               {{"container", record.id}, {"pid", cat(pid)}, {"cgroup", record.cgroup.v2}});
    HostParts host_parts{prepared.rootfs.mounts, request.bundle, user_namespace};
    for (Word word{};;) {
        TRY(channel.listen(word));
        if (word == Word::Ready) break;
        if (word == Word::Parts) {
            const auto parts = TRY(host_parts.next());
            TRY(channel.say(Word::Parts, {}, numbers_of(parts)));
            continue;
        }
        COPPICE_CHECK(word == Word::Hooks);
        // The older hook has always been told "created".
        TRY(run_hooks(spec.hooks.prestart, "prestart", to_state_json(record, Status::Created, false)));
        TRY(run_hooks(spec.hooks.create_runtime, "createRuntime", to_state_json(record, Status::Creating, false)));
        TRY(channel.say(Word::Hooks));
    }
    const auto started = TRY(os::process_start_time(pid));
    if (!started) return fail(ErrorKind::Unavailable, "the container's init has died");
    record.start_time = *started;
    record.complete = true;
    TRY(directory.write_state(record));
    if (request.pid_file) TRY_DOING("pid file", os::replace_file(os::kCwd, *request.pid_file, cat(pid), 0644));
    TRY(channel.say(Word::Finish, encode(filter)));
    return request.start ? wait_for_execution(channel, directory, record) : Result<>{};
}

Result<os::Process> make(const StateRoot& root, const Spec& spec, Preparation& prepared, RootSource& root_source,
                         const CreateRequest& request, CreationGuard& guard, StateRoot::Made& made)
{
    const LinuxSpec& linux_part = spec.linux_part;
    if (request.notify_directory) TRY(os::make_directory(made.directory.fd().get(), kNotifyDirectory, 0755));
    const auto cgroup = TRY(prepared.placement.make(linux_part, prepared.record));
    prepared.rootfs.cgroup.own = prepared.record.cgroup; // fewer than planned where the user has no right to them
    auto join_files = TRY(os::open_join_files(prepared.record.cgroup));
    os::Fd listener;
    if (!request.start) listener = TRY(os::listen_in(made.directory.fd().get(), kStartSocket));
    auto [ours, theirs] = TRY(os::socket_pair());

    auto forked = TRY(clone_init(prepared.namespaces, linux_part, cgroup));
    if (forked.pid == 0) {
        guard.forget_in_child();
        {
            const auto closed = std::move(ours);
        }
        {
            const auto closed = std::move(made);
        } // the lock is the creator's
        const Channel channel{std::move(theirs)};
        InitContext context{.spec = spec,
                            .request = request,
                            .rootfs = prepared.rootfs,
                            .channel = channel,
                            .listener = std::move(listener),
                            .console_socket = std::move(prepared.console_socket),
                            .cgroup_join_files = std::move(join_files),
                            .awaits_placement = prepared.placement.comes_after_birth(),
                            .namespaces = std::move(prepared.namespaces),
                            .record = prepared.record};
        ::_exit(run_init(context));
    }
    os::Process init{forked.pid, std::move(forked.pidfd)};
    theirs.reset();
    listener.reset();
    const Channel channel{std::move(ours)};
    prepared.record.pid = init.pid();
    TRY(prepared.placement.place(linux_part, prepared.record, channel));
    if (prepared.host_root) TRY(delegate_cgroup(spec, prepared.rootfs, prepared.record.cgroup));
    auto completed = complete(root, spec, prepared, root_source, request, made.directory, channel);
    if (!completed) return fail(died_silently(init, prepared.record.cgroup, completed.error()));
    return init;
}

} // namespace

Result<> check_preserved_fds(unsigned count)
{
    for (unsigned fd = 3; fd < 3 + count; ++fd) {
        const int flags = ::fcntl(static_cast<int>(fd), F_GETFD);
        if (flags < 0 || (flags & FD_CLOEXEC) != 0)
            return fail(ErrorKind::Invalid, cat("--preserve-fds or LISTEN_FDS: descriptor ", fd, " is not open"));
    }
    return {};
}

Result<os::Process> create(const StateRoot& root, const Spec& spec, RootSource& root_source,
                           const CreateRequest& request)
{
    const auto present = root.find(request.id); // said first; `make` is what decides
    if (present) return fail(already_there(request.id));
    if (present.error().kind() != ErrorKind::NotFound) return fail(present.error()); // paths are made of the id
    auto prepared = TRY(prepare(spec, request));
    auto guard = TRY(CreationGuard::begin(root, prepared.record));
    auto made = root.make(prepared.record, request.config_text);
    if (!made) {
        guard.release();
        return fail(std::move(made).error());
    }
    auto init = make(root, spec, prepared, root_source, request, guard, *made);
    if (!init) [[maybe_unused]]
        const auto undone = discard(root, prepared.record); // the first error is the one to tell
    guard.release();
    if (init && request.start)
        run_late_hooks(spec.hooks.poststart, "poststart", to_state_json(prepared.record, Status::Running, false));
    return init;
}

} // namespace coppice::runtime
