#include "coppice/os/features.h"

#include "coppice/base/text.h"
#include "coppice/os/cgroup.h"
#include "coppice/os/file.h"
#include "coppice/os/id_map.h"
#include "coppice/os/mount.h"
#include "coppice/os/process.h"
#include "coppice/os/syscalls.h"

#include <cerrno>
#include <functional>
#include <linux/seccomp.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

namespace coppice::os {

namespace {

/// Runs `attempt` in a child with the given new namespaces: what it does ends with it.
bool works_in_child(std::uint64_t flags, const std::function<bool()>& attempt)
{
    auto child = fork_process({.flags = flags}, [&] { return attempt() ? 0 : 1; });
    if (!child) return false;
    const auto status = child->wait();
    return status && status->code == 0;
}

bool has_file_system(std::string_view type)
{
    // Opening a context loads the module where there is one, which reading /proc/filesystems would not show.
    const Fd fs{sys::fsopen(std::string{type}.c_str())};
    return fs.is_open();
}

/// A regular file as the device: a kernel that can do this looks into it, another one wants a block device.
bool has_erofs_from_files()
{
    const auto mounted = new_file_system("erofs", {{"source", "/proc/self/exe"}}, mount_attr::kReadOnly);
    return mounted || (mounted.error().os_errno() != ENOTBLK && mounted.error().os_errno() != ENODEV);
}

bool has_separate_lowers()
{
    return new_file_system("overlay", {{"lowerdir+", "/etc"}, {"lowerdir+", "/usr"}}, mount_attr::kReadOnly)
        .has_value();
}

bool can_map_ids_of(const std::string& path)
{
    const auto ns = make_user_namespace({.uids = {{0, 1'000'000, 65536}}, .gids = {{0, 1'000'000, 65536}}});
    if (!ns) return false;
    const auto mount = clone_mount(kCwd, path, false);
    return mount && map_mount_ids(mount->get(), ns->get(), false).has_value();
}

bool has_clone_into_cgroup()
{
    // A descriptor that is no cgroup: a kernel that knows the flag says EBADF, an older one E2BIG or EINVAL.
    const Fd not_a_cgroup{::open("/", O_PATH | O_CLOEXEC)};
    const auto tried = clone_process({.cgroup = not_a_cgroup.get()});
    if (tried && tried->pid == 0) ::_exit(1);
    return !tried && tried.error().os_errno() == EBADF;
}

bool has_seccomp_filter()
{
    const std::uint32_t action = SECCOMP_RET_ERRNO;
    return ::syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

} // namespace

std::string kernel_release()
{
    utsname names{};
    return ::uname(&names) == 0 ? names.release : "unknown";
}

Result<std::string> boot_id()
{
    auto text = TRY(read_file(kCwd, "/proc/sys/kernel/random/boot_id", 64));
    if (!text.empty() && text.back() == '\n') text.pop_back();
    return text;
}

std::vector<Feature> probe_features(const std::string& state_directory)
{
    const auto layout = CgroupLayout::detect();
    std::vector<Feature> features;
    const auto add = [&](std::string name, bool available, bool required, std::string needed_for,
                         std::string otherwise) {
        features.push_back({std::move(name), available, required, std::move(needed_for), std::move(otherwise)});
    };
    add("root rights", ::geteuid() == 0, true, "namespaces, mounts, cgroups", "run it as root, for example with sudo");
    add("mount API by descriptor", has_file_system("tmpfs"), true, "every mount", "needs Linux 5.12 and root");
    add("new namespaces",
        works_in_child(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | sys::kCloneNewCgroup,
                       [] { return true; }),
        true, "isolation", "needs root and a kernel with all namespaces");
    add("user namespaces", works_in_child(CLONE_NEWUSER, [] { return true; }), true, "isolation",
        "see /proc/sys/user/max_user_namespaces");
    add("time namespaces", exists(kCwd, "/proc/self/ns/time"), false, "OCI time offsets",
        "such containers are refused");
    add("id-mapped mounts", can_map_ids_of(state_directory), true, "instances without chown",
        cat("needs Linux 5.19, and ", state_directory, " on a file system such as ext4, xfs or btrfs"));
    add("overlayfs", has_file_system("overlay"), true, "copy-on-write layers", "load the kernel module 'overlay'");
    add("EROFS", has_file_system("erofs"), false, "vdisks; image files as ROOT",
        "load the kernel module 'erofs'; without it no vdisk can be mounted, and ROOT must be a directory");
    add("EROFS from files", has_erofs_from_files(), false, "vdisks without loop devices",
        "loop devices are used; needs Linux 6.12");
    add("overlay layers one by one", has_separate_lowers(), false, "snapshots on many others",
        "the layers are given by short names; needs Linux 6.7");
    add("loop devices", exists(kCwd, "/dev/loop-control"), false, "one page cache for all instances of an image file",
        "load the kernel module 'loop'; needed for image files below Linux 6.12");
    add("cgroup v2 hierarchy", layout && layout->mode() != CgroupMode::Legacy, false,
        "birth inside the cgroup, device filter, kill of a whole cgroup", "v1 is used alone, starts are slower");
    for (const char* const controller : {"memory", "cpu", "pids"}) {
        CgroupLimits limits;
        if (std::string_view{controller} == "memory") limits.memory_bytes = 1;
        if (std::string_view{controller} == "cpu") limits.cpu_quota_us = 1;
        if (std::string_view{controller} == "pids") limits.pids = 1;
        add(cat("cgroup controller ", controller), layout && plan_cgroup(*layout, "/coppice-probe", limits).has_value(),
            false, cat("limits of ", controller), "such limits are refused with an error");
    }
    add("birth inside a cgroup (CLONE_INTO_CGROUP)", has_clone_into_cgroup(), true, "start without waiting",
        "needs Linux 5.7");
    add("seccomp filters", has_seccomp_filter(), true, "system call filter", "needs CONFIG_SECCOMP_FILTER");
    return features;
}

} // namespace coppice::os
