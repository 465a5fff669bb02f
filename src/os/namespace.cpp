#include "coppice/os/namespace.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/syscalls.h"

#include <cerrno>
#include <linux/nsfs.h>
#include <sys/ioctl.h>

namespace coppice::os {

const std::array<NamespaceKind, 8>& namespace_kinds()
{
    static constexpr std::array<NamespaceKind, 8> kKinds{{
        {CLONE_NEWUSER, "user", "user"},
        {CLONE_NEWIPC, "ipc", "ipc"},
        {CLONE_NEWUTS, "uts", "uts"},
        {CLONE_NEWNET, "net", "network"},
        {CLONE_NEWPID, "pid", "pid"},
        {sys::kCloneNewCgroup, "cgroup", "cgroup"},
        {sys::kCloneNewTime, "time", "time"},
        {CLONE_NEWNS, "mnt", "mount"},
    }};
    return kKinds;
}

const NamespaceKind* find_namespace_kind(std::string_view oci_name)
{
    for (const NamespaceKind& kind : namespace_kinds())
        if (oci_name == kind.oci_name) return &kind;
    return nullptr;
}

Result<Fd> open_namespace(const NamespaceKind& kind, const std::string& path)
{
    auto ns = TRY(open_at(kCwd, path, O_RDONLY));
    const int type = ::ioctl(ns.get(), NS_GET_NSTYPE);
    if (type < 0 || static_cast<std::uint64_t>(static_cast<unsigned>(type)) != kind.flag)
        return fail(ErrorKind::Invalid, cat(path, " is not a ", kind.oci_name, " namespace"));
    return ns;
}

Result<Fd> open_namespace_of(pid_t pid, const NamespaceKind& kind)
{
    return open_namespace(kind, cat("/proc/", pid, "/ns/", kind.proc_name));
}

Result<> enter_namespace(const Fd& ns, std::uint64_t flag)
{
    if (::setns(ns.get(), static_cast<int>(flag)) < 0) return fail_os(errno, "enter a namespace");
    return {};
}

Result<> enter_namespaces_of(const Fd& pidfd, std::uint64_t flags)
{
    if (::setns(pidfd.get(), static_cast<int>(flags)) < 0) return fail_os(errno, "enter the namespaces of a process");
    return {};
}

Result<> leave_namespaces(std::uint64_t flags)
{
    if (::unshare(static_cast<int>(flags)) < 0) return fail_os(errno, "unshare namespaces");
    return {};
}

Result<std::uint64_t> differing_namespaces(pid_t pid)
{
    std::uint64_t flags = 0;
    for (const NamespaceKind& kind : namespace_kinds()) {
        const auto ours = TRY(find_status(kCwd, cat("/proc/self/ns/", kind.proc_name)));
        if (!ours) continue; // a kernel without this kind
        const auto theirs = TRY(find_status(kCwd, cat("/proc/", pid, "/ns/", kind.proc_name)));
        if (!theirs) return fail(ErrorKind::NotFound, cat("process ", pid, " has gone"));
        if (ours->st_ino != theirs->st_ino) flags |= kind.flag;
    }
    return flags;
}

} // namespace coppice::os
