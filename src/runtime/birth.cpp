#include "birth.h"

#include "channel.h"
#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "coppice/os/file.h"
#include "coppice/os/namespace.h"
#include "coppice/os/syscalls.h"
#include "sysctl.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <grp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace coppice::runtime {

namespace {

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
    const bool would_change = (kind.flag == CLONE_NEWUTS && names_given) ||
                              std::any_of(spec.sysctl.begin(), spec.sysctl.end(), [&kind](const auto& parameter) {
                                  return namespace_of_sysctl(parameter.first) == kind.flag;
                              });
    if (!would_change) return {};
    if (TRY(is_own(kind, ns)))
        return fail(ErrorKind::Invalid, cat("linux.namespaces: the ", kind.oci_name,
                                            " namespace is the caller's own; sysctl or hostname would change it"));
    return {};
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
        // Before entering: what is inside may be hostile and must not look into this copy of the creator, nor into
        // init.
        if (::prctl(PR_SET_DUMPABLE, 0) < 0) entered = fail_os(errno, "make the process undumpable");
        ::setgroups(0, nullptr); // inside it may be forbidden; an ordinary user may not even here
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

} // namespace

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

Result<os::ForkResult> clone_init(const std::vector<NamespaceToJoin>& namespaces, const LinuxSpec& spec,
                                  const os::Fd& cgroup)
{
    const os::CloneOptions options{.flags = birth_flags(spec), .cgroup = cgroup.get()};
    const bool own_users = spec.has_user_namespace();
    if (own_users && !spec.has_new_namespace(CLONE_NEWUSER)) return clone_inside(namespaces, options);
    std::vector<NamespaceToJoin> way_back;
    Result<> entered;
    for (const NamespaceToJoin& ns : namespaces) {
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

} // namespace coppice::runtime
