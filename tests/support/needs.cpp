#include "coppice/test/needs.h"

#include "coppice/os/cgroup.h"
#include "coppice/os/device_filter.h"
#include "coppice/os/features.h"
#include "coppice/os/id_map.h"
#include "coppice/os/mount.h"
#include "coppice/os/syscalls.h"
#include "coppice/test/child.h"
#include "coppice/test/temp_dir.h"
#include "own_mounts.h"

#include <fcntl.h>
#include <map>
#include <sys/syscall.h>
#include <unistd.h>

namespace coppice::test {

namespace {

bool has_file_system(const char* type)
{
    const os::Fd fs{os::sys::fsopen(type)};
    return fs.is_open();
}

bool has_controller(const os::CgroupLimits& limits)
{
    const auto layout = os::CgroupLayout::detect();
    return layout && os::plan_cgroup(*layout, "/" + host_name_prefix(), limits).has_value();
}

bool can_map_ids()
{
    const TempDir directory;
    const auto ns = os::make_user_namespace({.uids = {{0, 1'000'000, 65536}}, .gids = {{0, 1'000'000, 65536}}});
    const auto mount = os::clone_mount(directory.fd(), "", false);
    return ns && mount && os::map_mount_ids(mount->get(), ns->get(), false);
}

bool has_v2_hierarchy()
{
    const auto layout = os::CgroupLayout::detect();
    return layout && !layout->v2_mount().empty() && ::access(layout->v2_mount().c_str(), W_OK) == 0;
}

/// What is wrong with one need; empty when it is met.
std::string examine(Need need)
{
    const auto unless = [](bool met, const char* reason) { return std::string{met ? "" : reason}; };
    switch (need) {
    case Need::Root: return ::geteuid() == 0 ? own_mounts_problem() : "needs root";
    case Need::UserNamespaces: return unless(in_child(CLONE_NEWUSER, [] {}), "needs user namespaces");
    case Need::Overlayfs: return unless(has_file_system("overlay"), "needs overlayfs in the kernel");
    case Need::Erofs: return unless(has_file_system("erofs"), "needs EROFS in the kernel");
    case Need::MkfsErofs: return unless(run_program({"mkfs.erofs", "--help"}) != 127, "needs the program mkfs.erofs");
    case Need::LoopDevices: return unless(::access("/dev/loop-control", R_OK | W_OK) == 0, "needs loop devices");
    case Need::IdMappedMounts:
        return unless(can_map_ids(), "needs id-mapped mounts on the file system of COPPICE_TEST_DIR or /var/tmp");
    case Need::CgroupV2: return unless(has_v2_hierarchy(), "needs a writable cgroup v2 hierarchy");
    case Need::PidsController: return unless(has_controller({.pids = 1}), "needs the cgroup controller pids");
    case Need::MemoryController:
        return unless(has_controller({.memory_bytes = 1}), "needs the cgroup controller memory");
    case Need::DeviceFilter: {
        // No such cgroup: a kernel that can load the program complains about the descriptor only.
        const auto tried = os::attach_device_filter(-1, {{.allow = true}});
        return unless(!tried && tried.error().os_errno() == EBADF, "needs eBPF device filters");
    }
    case Need::Seccomp: return unless(::syscall(SYS_seccomp, 0xff, 0, nullptr) < 0 && errno != ENOSYS, "needs seccomp");
    }
    return "unknown need";
}

} // namespace

std::string find_missing(std::initializer_list<Need> needs)
{
    static std::map<Need, std::string> known;
    for (const Need need : needs) {
        auto found = known.find(need);
        if (found == known.end()) found = known.emplace(need, examine(need)).first;
        if (!found->second.empty()) return found->second;
    }
    return {};
}

} // namespace coppice::test
