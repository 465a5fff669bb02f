#include "delegation.h"

#include "coppice/os/syscalls.h"

#include <algorithm>
#include <sched.h>

namespace coppice::runtime {

namespace {

bool shows_writable_v2(const PlannedMount& mount, const CgroupView& cgroup)
{
    const std::string& type = mount.spec->type;
    const bool is_v2 = type == "cgroup2" || (type == "cgroup" && cgroup.layout.mode() == os::CgroupMode::Unified);
    return is_v2 && (mount.options.set & os::mount_attr::kReadOnly) == 0;
}

} // namespace

Result<> delegate_cgroup(const Spec& spec, const RootfsPlan& plan, const os::CgroupPaths& cgroup)
{
    const LinuxSpec& linux_part = spec.linux_part;
    if (cgroup.v2.empty() || !linux_part.has_new_namespace(os::sys::kCloneNewCgroup) ||
        !linux_part.has_new_namespace(CLONE_NEWUSER))
        return {};
    const auto shows = [&plan](const PlannedMount& mount) { return shows_writable_v2(mount, plan.cgroup); };
    if (std::none_of(plan.mounts.begin(), plan.mounts.end(), shows)) return {};
    const auto owner = os::to_outside(linux_part.mapping.uids, spec.process->user.uid);
    return owner ? os::delegate_cgroup(cgroup, *owner) : Result<>{};
}

} // namespace coppice::runtime
