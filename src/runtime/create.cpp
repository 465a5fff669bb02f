#include "coppice/base/id.h"
#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/base/units.h"
#include "coppice/os/file.h"
#include "coppice/os/namespace.h"
#include "coppice/os/syscalls.h"
#include "coppice/os/user_namespace.h"
#include "coppice/runtime/console.h"
#include "coppice/runtime/container.h"
#include "devices.h"
#include "guard.h"
#include "hooks.h"
#include "init.h"
#include "resctrl.h"
#include "scope.h"
#include "start.h"
#include "syscall_filter.h"
#include "sysctl.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
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
    std::optional<PlannedScope> scope; ///< with the systemd cgroup driver
};

/// Whether a namespace is the one that this process is in.
Result<bool> is_own(const os::NamespaceKind& kind, const os::Fd& ns)
{
    struct stat theirs{};
    if (::fstat(ns.get(), &theirs) < 0) return fail_os(errno, "stat a namespace");
    const auto ours = TRY(os::find_status(os::kCwd, cat("/proc/self/ns/", kind.proc_name)));
    return ours && ours->st_ino == theirs.st_ino;
}

/// A namespace given by path may be the host's own: then nothing of it may be changed.
Result<> refuse_changing_host(const os::NamespaceKind& kind, const os::Fd& ns, const LinuxSpec& spec, bool names_given)
{
    const bool would_change = (kind.flag == CLONE_NEWUTS && names_given) || !spec.sysctl.empty();
    if (!would_change) return {};
    if (TRY(is_own(kind, ns)))
        return fail(ErrorKind::Invalid, cat("linux.namespaces: the ", kind.oci_name,
                                            " namespace is the caller's own; sysctl or hostname would change it"));
    return {};
}

Result<std::vector<NamespaceToJoin>> open_namespaces(const LinuxSpec& spec, bool names_given)
{
    std::vector<NamespaceToJoin> namespaces;
    for (const os::NamespaceKind& kind : os::namespace_kinds()) {
        const NamespaceSpec* const ns = spec.find_namespace(kind.flag);
        if (ns == nullptr || ns->path.empty()) continue;
        auto fd = TRY_DOING("linux.namespaces", os::open_namespace(kind, ns->path));
        if (kind.flag == CLONE_NEWUSER && TRY(is_own(kind, fd)))
            return fail(
                Error{ErrorKind::Invalid, cat("linux.namespaces: ", ns->path, " is the caller's own user namespace")}
                    .hint("leave the user namespace out of the list"));
        TRY(refuse_changing_host(kind, fd, spec, names_given));
        namespaces.push_back({.fd = std::move(fd), .flag = kind.flag});
    }
    return namespaces;
}

Result<> refuse_cgroup_in_use(const os::CgroupPaths& paths)
{
    if (TRY(os::is_frozen(paths))) // what is born in it would not even begin
        return fail(Error{ErrorKind::Conflict, cat("cgroup ", paths.v2, " is frozen")}.hint(
            "choose another linux.cgroupsPath"));
    const auto pids = TRY(os::processes_in(paths));
    if (pids.empty()) return {};
    return fail(Error{ErrorKind::Conflict, cat("cgroup ", paths.v2, " is in use by process ", pids.front())}.hint(
        "choose another linux.cgroupsPath"));
}

/// Whether the specification says more of devices than what holds for every container anyway. Only then the list of v1
/// is written where the filter on v2 is what restricts: for those who look there.
bool has_device_list(const LinuxSpec& spec)
{
    static const os::DeviceRule kDenyAll;
    return std::any_of(spec.device_rules.begin(), spec.device_rules.end(),
                       [](const os::DeviceRule& rule) { return rule != kDenyAll; });
}

/// Where the container's cgroup will be, noted in `record`.
Result<std::optional<PlannedScope>> plan_placement(const Spec& spec, const CreateRequest& request,
                                                   const os::CgroupLayout& layout, StateRecord& record)
{
    const LinuxSpec& linux_part = spec.linux_part;
    switch (request.cgroup_driver) {
    case CgroupDriver::Systemd: return TRY(plan_scope(spec, layout, record));
    case CgroupDriver::Disabled:
        if (linux_part.limits != os::CgroupLimits{})
            return fail(Error{ErrorKind::Invalid, "linux.resources: limits need a cgroup, and none is to be made"}.hint(
                "choose --cgroup-manager=cgroupfs or systemd"));
        return std::nullopt;
    case CgroupDriver::Cgroupfs: break;
    }
    const std::string& path = linux_part.cgroups_path;
    record.cgroup = TRY(os::plan_cgroup(layout, path.empty() ? cat("coppice/", request.id) : path, linux_part.limits,
                                        has_device_list(linux_part)));
    return std::nullopt;
}

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
    if (const auto& rdt = spec.linux_part.intel_rdt) record.resctrl = own_resctrl_group(*rdt, request.id);
    auto scope = TRY(plan_placement(spec, request, layout, record));
    TRY(refuse_cgroup_in_use(record.cgroup));
    const bool host_root = os::is_host_root();
    auto rootfs = TRY(plan_rootfs(spec, std::move(layout), record.cgroup, request.no_pivot));
    auto namespaces = TRY(open_namespaces(spec.linux_part, !spec.hostname.empty() || !spec.domainname.empty()));
    auto console = TRY_DOING("terminal", open_console_socket(request.console, spec.process->terminal));
    return Preparation{host_root,          std::move(rootfs), std::move(record), std::move(namespaces),
                       std::move(console), std::move(scope)};
}

std::uint64_t birth_flags(const LinuxSpec& spec)
{
    std::uint64_t flags = 0;
    for (const NamespaceSpec& ns : spec.namespaces)
        // cgroup and time come later, from inside: the one when it is in its cgroups, the other when its clocks are set
        if (ns.path.empty() && ns.flag != os::sys::kCloneNewCgroup && ns.flag != os::sys::kCloneNewTime)
            flags |= ns.flag;
    return flags;
}

/// clone3 by a process inside the user namespace that is to own the container's other ones: the creator itself cannot
/// go there, since there is no way back. The new process is the creator's child all the same.
Result<os::ForkResult> clone_inside(const std::vector<NamespaceToJoin>& namespaces, os::CloneOptions options)
{
    auto [ours, theirs] = TRY(os::socket_pair());
    options.flags |= os::sys::kCloneParent;
    const auto helper = TRY(os::clone_process({}));
    if (helper.pid == 0) {
        const Channel channel{std::move(theirs)};
        Result<> entered;
        for (auto ns = namespaces.begin(); entered && ns != namespaces.end(); ++ns) // the user namespace is the first
            entered = with_context(os::enter_namespace(ns->fd, ns->flag), "linux.namespaces");
        auto forked = entered ? os::clone_process(options) : Result<os::ForkResult>{std::unexpect, entered.error()};
        if (forked && forked->pid == 0) return forked; // the container's init
        if (!forked)
            channel.report(forked.error());
        else if (!channel.say(Word::Ready, cat(forked->pid)))
            ::kill(forked->pid, SIGKILL); // the creator has gone
        ::_exit(0);
    }
    os::Process reaped{helper.pid, os::Fd{}};
    theirs.reset();
    const Channel channel{std::move(ours)};
    const auto answer = TRY(channel.expect(Word::Ready));
    const auto pid = static_cast<pid_t>(TRY(parse_integer(answer.bytes, 1, INT32_MAX)));
    TRY(reaped.wait());
    os::Process init{pid, os::Fd{os::sys::pidfd_open(pid)}}; // a child not waited for yet: its number is its own
    if (!init.pidfd().is_open()) return fail_os(errno, "open the container's init");
    return os::ForkResult{init.detach(), TRY(init.pidfd().duplicate())};
}

/// clone3, born into the namespaces that have to be entered before birth: the pid namespace always, the others when the
/// container has a user namespace, from which it would not be allowed to. The caller is back in its own afterwards.
Result<os::ForkResult> clone_init(const Preparation& prepared, const LinuxSpec& spec, const os::CloneOptions& options)
{
    const bool own_users = spec.has_user_namespace();
    if (own_users && !spec.has_new_namespace(CLONE_NEWUSER)) return clone_inside(prepared.namespaces, options);
    std::vector<NamespaceToJoin> way_back;
    Result<> entered;
    for (const NamespaceToJoin& ns : prepared.namespaces) {
        if (ns.flag != CLONE_NEWPID && !own_users) continue;
        const auto& kinds = os::namespace_kinds();
        const auto kind =
            std::find_if(kinds.begin(), kinds.end(), [&](const auto& one) { return one.flag == ns.flag; });
        auto own = TRY(os::open_at(os::kCwd, cat("/proc/self/ns/", kind->proc_name), O_RDONLY));
        entered = with_context(os::enter_namespace(ns.fd, ns.flag), "linux.namespaces");
        if (!entered) break;
        way_back.push_back({.fd = std::move(own), .flag = ns.flag});
    }
    auto forked = entered ? os::clone_process(options) : Result<os::ForkResult>{std::unexpect, entered.error()};
    if (forked && forked->pid == 0) return forked;
    for (const NamespaceToJoin& ns : way_back)
        TRY(os::enter_namespace(ns.fd, ns.flag)); // hooks are to run in our own
    return forked;
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

Result<> set_oom_score(const ProcessSpec& process, pid_t pid, bool host_root)
{
    if (!process.oom_score_adj) return {};
    auto wrote = os::write_control(os::kCwd, cat("/proc/", pid, "/oom_score_adj"), cat(*process.oom_score_adj));
    // Only the host's root may lower it, and clients ask for their own default without knowing whether they may.
    if (!wrote && !host_root && wrote.error().kind() == ErrorKind::Denied) return {};
    return with_context(std::move(wrote), "process.oomScoreAdj");
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
            .hint("raise linux.resources.memory.limit");
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
    TRY(set_oom_score(*spec.process, pid, prepared.host_root));
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

/// The cgroup with its limits. An ordinary user who asks for no limits goes without where it has no right to one: the
/// end of the pid namespace is then what ends all processes.
Result<os::Fd> make_cgroup(const os::CgroupLimits& limits, Preparation& prepared)
{
    os::CgroupPaths& paths = prepared.record.cgroup;
    auto cgroup = os::make_cgroup(paths, limits);
    if (!cgroup && !prepared.host_root) {
        const int number = cgroup.error().os_errno();
        const bool no_right = number == EACCES || number == EPERM || number == EROFS;
        if (no_right && limits == os::CgroupLimits{}) {
            paths = {};
            return os::Fd{};
        }
        if (no_right)
            return fail(std::move(cgroup).error().hint("leave limits out, or have this cgroup delegated to you"));
    }
    if (cgroup) TRY(os::apply_limits(paths, limits));
    return cgroup;
}

Result<> restrict_devices(const Preparation& prepared, const os::Fd& cgroup, const LinuxSpec& linux_part)
{
    if (!prepared.host_root) return {};
    auto rules = linux_part.device_rules;
    if (rules.empty()) rules.push_back({}); // "deny all": silence is no permission
    const auto defaults = default_device_rules();
    // Behind a first "deny all" and before the specification's own rules.
    const bool denies_first = !rules.front().allow && rules.front().type == 'a';
    auto listed = rules;
    rules.insert(rules.begin() + (denies_first ? 1 : 0), defaults.begin(), defaults.end());
    os::CgroupPaths restricting = prepared.record.cgroup;
    if (cgroup.is_open()) restricting.v1.erase("devices");
    TRY_DOING("linux.resources.devices", os::apply_device_rules(restricting, cgroup, rules));
    if (restricting == prepared.record.cgroup) return {};
    // The list of v1 beside the filter is there to be read, by programs that expect it to begin with the
    // specification's rules.
    listed.insert(listed.end(), defaults.begin(), defaults.end());
    return with_context(os::apply_device_rules(prepared.record.cgroup, os::Fd{}, listed), "linux.resources.devices");
}

/// systemd makes a cgroup around a process that is there already: the init, which waits for it.
Result<> place_by_systemd(Preparation& prepared, const LinuxSpec& linux_part, const Channel& channel)
{
    const auto cgroup = TRY(start_scope(*prepared.scope, prepared.record));
    TRY(os::apply_limits(prepared.record.cgroup, linux_part.limits));
    TRY(restrict_devices(prepared, cgroup, linux_part));
    return channel.say(Word::Placed);
}

Result<os::Process> make(const StateRoot& root, const Spec& spec, Preparation& prepared, RootSource& root_source,
                         const CreateRequest& request, CreationGuard& guard, StateRoot::Made& made)
{
    const LinuxSpec& linux_part = spec.linux_part;
    if (request.notify_directory) TRY(os::make_directory(made.directory.fd().get(), kNotifyDirectory, 0755));
    os::Fd cgroup;
    if (request.cgroup_driver == CgroupDriver::Cgroupfs) {
        cgroup = TRY(make_cgroup(linux_part.limits, prepared));
        TRY(restrict_devices(prepared, cgroup, linux_part));
    }
    auto join_files = TRY(os::open_join_files(prepared.record.cgroup));
    os::Fd listener;
    if (!request.start) listener = TRY(os::listen_in(made.directory.fd().get(), kStartSocket));
    auto [ours, theirs] = TRY(os::socket_pair());

    auto forked = TRY(clone_init(prepared, linux_part, {.flags = birth_flags(linux_part), .cgroup = cgroup.get()}));
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
                            .awaits_placement = prepared.scope.has_value(),
                            .namespaces = std::move(prepared.namespaces),
                            .record = prepared.record};
        ::_exit(run_init(context));
    }
    os::Process init{forked.pid, std::move(forked.pidfd)};
    theirs.reset();
    listener.reset();
    const Channel channel{std::move(ours)};
    prepared.record.pid = init.pid();
    if (prepared.scope) TRY(place_by_systemd(prepared, linux_part, channel));
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
            return fail(ErrorKind::Invalid, cat("--preserve-fds ", count, ": descriptor ", fd, " is not open"));
    }
    return {};
}

Result<os::Process> create(const StateRoot& root, const Spec& spec, RootSource& root_source,
                           const CreateRequest& request)
{
    if (root.find(request.id)) return fail(already_there(request.id)); // said first; `make` is what decides
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
