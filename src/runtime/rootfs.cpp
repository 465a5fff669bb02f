#include "rootfs.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/mount.h"
#include "coppice/os/syscalls.h"
#include "devices.h"
#include "sysctl.h"

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

} // namespace

Result<RootfsPlan> plan_rootfs(const Spec& spec, os::CgroupLayout layout, const os::CgroupPaths& own)
{
    auto mounts = TRY(plan_mounts(spec));
    const auto propagation = TRY(parse_propagation(spec.linux_part.rootfs_propagation));
    return RootfsPlan{.mounts = std::move(mounts),
                      .devices = plan_devices(spec),
                      .cgroup = {.layout = std::move(layout),
                                 .own = own,
                                 .own_namespace = spec.linux_part.find_namespace(os::sys::kCloneNewCgroup) != nullptr},
                      .propagation = propagation};
}

Result<std::optional<os::Pty>> enter_rootfs(const Spec& spec, const RootfsPlan& plan, RootfsParts parts,
                                            const std::function<Result<>()>& before_pivot)
{
    // First of all cut the way back: nothing that is mounted or unmounted here may reach the host.
    TRY(os::set_mount_propagation(os::kCwd, "/", MS_SLAVE, true));
    // On top of the old root: no directory of the host is needed as a mount point. Old paths go on to lead to the
    // host, since this process's root directory is still the old one below.
    TRY_DOING("root file system", os::attach_mount(parts.root.get(), os::kCwd, "/"));
    const int root = parts.root.get();
    TRY(make_mounts(root, plan.mounts, std::move(parts.binds), plan.cgroup));
    TRY(make_devices(root, plan.devices, std::move(parts.devices)));
    std::optional<os::Pty> terminal;
    if (spec.process && spec.process->terminal) terminal = TRY_DOING("terminal", open_terminal(root));
    TRY(write_sysctls(spec.linux_part));
    TRY(before_pivot());

    TRY(os::change_root(root));
    const auto [propagation, recursive] = plan.propagation;
    if (propagation != 0 &&
        propagation != MS_SLAVE) // that one was set where the mount was made: it must name its master there
        TRY(os::set_mount_propagation(os::kCwd, "/", propagation, recursive));
    if (spec.root_readonly) TRY(os::set_mount_attributes(root, os::mount_attr::kReadOnly, 0, false));
    TRY(make_paths_readonly(spec.linux_part.readonly_paths));
    TRY(mask_paths(spec.linux_part.masked_paths));
    return terminal;
}

} // namespace coppice::runtime
