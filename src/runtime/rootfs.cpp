#include "rootfs.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/mount.h"
#include "coppice/os/namespace.h"
#include "coppice/os/syscalls.h"
#include "devices.h"
#include "sysctl.h"

#include <sched.h>
#include <sys/mount.h>

namespace coppice::runtime {

namespace {

/// The terminal also as /dev/console, mounted from its descriptor: no name for an image to tamper with
/// (CVE-2025-52565).
Result<os::Pty> open_terminal(int root)
{
    auto pty = TRY(os::open_pty(root, "dev/pts/ptmx"));
    const auto console = TRY(os::make_in_root(root, "dev/console", os::PathKind::File, false));
    const auto mount = TRY_DOING("/dev/console", os::clone_mount(pty.slave.get(), "", false));
    TRY_DOING("/dev/console", os::attach_mount(mount.get(), console.get(), ""));
    return pty;
}

Result<> finish_rootfs(int root, const Spec& spec)
{
    if (spec.root_readonly) TRY(os::set_mount_attributes(root, os::mount_attr::kReadOnly, 0, false));
    TRY(make_paths_readonly(root, spec.linux_part.readonly_paths));
    return mask_paths(root, spec.linux_part.masked_paths);
}

/// Last of all: a shared root could not be pivoted to, and nothing could be bound out of an unbindable one.
Result<> set_rootfs_propagation(int root, const RootfsPlan& plan)
{
    const auto [propagation, recursive] = plan.propagation;
    if (propagation == 0 || propagation == MS_SLAVE) return {}; // slave was set where it can name its master
    return os::set_mount_propagation(root, "", propagation, recursive);
}

} // namespace

Result<RootfsPlan> plan_rootfs(const Spec& spec, os::CgroupLayout layout, const os::CgroupPaths& own, bool no_pivot)
{
    using Entry = RootfsPlan::Entry;
    auto mounts = TRY(plan_mounts(spec));
    const auto propagation = TRY(parse_propagation(spec.linux_part.rootfs_propagation));
    const auto entry = !spec.linux_part.has_own_mounts() ? Entry::Detached : no_pivot ? Entry::Stack : Entry::Pivot;
    for (const PlannedMount& mount : mounts) // what is unbindable is left out when the tree is copied (see carry_over)
        if (entry == Entry::Detached && mount.options.propagation == MS_UNBINDABLE)
            return fail(
                Error{ErrorKind::Unsupported, cat("mount ", mount.spec->destination,
                                                  ": unbindable needs a mount namespace of the container's own")}
                    .hint("leave the option out, or add the namespace"));
    return RootfsPlan{.mounts = std::move(mounts),
                      .devices = plan_devices(spec),
                      .cgroup = {.layout = std::move(layout),
                                 .own = own,
                                 .own_namespace = spec.linux_part.find_namespace(os::sys::kCloneNewCgroup) != nullptr},
                      .propagation = propagation,
                      .entry = entry};
}

namespace {

/// Into the root that this mount namespace has on top.
Result<> enter(int root, RootfsPlan::Entry entry)
{
    if (entry == RootfsPlan::Entry::Pivot) return os::change_root(root);
    TRY(os::detach_kernel_mounts());
    return os::change_root_of_process(root);
}

/// Leaves the mount namespace in which the tree was put together, with a copy of the tree that belongs to none: nothing
/// is mounted in a namespace of others.
Result<> carry_over(int root, const RootfsPlan& plan, const os::Fd& destination)
{
    const auto tree = TRY(os::clone_mount(root, "", true));
    TRY_DOING("linux.namespaces", os::enter_namespace(destination, CLONE_NEWNS));
    TRY(set_rootfs_propagation(tree.get(), plan));
    return os::change_root_of_process(tree.get());
}

} // namespace

Result<std::optional<os::Pty>> enter_rootfs(const Spec& spec, const RootfsPlan& plan, RootfsParts parts,
                                            const std::function<Result<>()>& before_pivot)
{
    const int root = parts.root.get();
    const bool detached = plan.entry == RootfsPlan::Entry::Detached;
    if (detached) {
        if (!parts.mount_namespace.is_open())
            parts.mount_namespace = TRY(os::open_at(os::kCwd, "/proc/self/ns/mnt", O_RDONLY));
        TRY(os::leave_namespaces(CLONE_NEWNS)); // Linux before 6.15 mounts nothing on a tree without a namespace
    }
    // First of all cut the way back: nothing that is mounted or unmounted here may reach the host.
    TRY(os::set_mount_propagation(os::kCwd, "/", MS_SLAVE, true));
    // On top of the old root: no directory of the host is needed as a mount point. Old paths go on to lead to the
    // host, since this process's root directory is still the old one below.
    TRY_DOING("root file system", os::attach_mount(root, os::kCwd, "/"));
    TRY(make_mounts(root, plan.mounts, parts.next_host_part, plan.cgroup));
    TRY(make_devices(root, plan.devices, std::move(parts.devices)));
    std::optional<os::Pty> terminal;
    if (spec.process && spec.process->terminal) terminal = TRY_DOING("terminal", open_terminal(root));
    TRY(write_sysctls(spec.linux_part));
    TRY(before_pivot());

    if (detached) {
        TRY(finish_rootfs(root, spec));
        TRY(carry_over(root, plan, parts.mount_namespace));
    } else {
        TRY(enter(root, plan.entry));
        TRY(finish_rootfs(root, spec));
        TRY(set_rootfs_propagation(root, plan));
    }
    return terminal;
}

} // namespace coppice::runtime
