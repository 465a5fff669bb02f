#pragma once

#include "coppice/os/fd.h"
#include "coppice/os/terminal.h"
#include "coppice/runtime/spec.h"
#include "mounts.h"

#include <functional>
#include <optional>
#include <vector>

namespace coppice::runtime {

/// All that is known before the container exists about how its file system will look.
struct RootfsPlan {
    std::vector<PlannedMount> mounts;
    std::vector<DeviceSpec> devices;
    CgroupView cgroup;
    std::pair<std::uint64_t, bool> propagation; ///< MS_*, recursive
    /// How the container comes to see nothing but its root.
    enum class Entry : unsigned char {
        Pivot,    ///< pivot_root: nothing else is left in its mount namespace
        Stack,    ///< --no-pivot, for a root that cannot be pivoted from (a ramdisk): on top of "/", then chroot
        Detached, ///< without a mount namespace of its own: chroot into mounts that are attached nowhere,
                  ///< put together in a namespace for the moment
    };
    Entry entry = Entry::Pivot;
};
/// @param no_pivot the caller's --no-pivot
Result<RootfsPlan> plan_rootfs(const Spec& spec, os::CgroupLayout layout, const os::CgroupPaths& own, bool no_pivot);

/// The mounts that came from outside, in the order in which they are handed over.
struct RootfsParts {
    os::Fd root;
    std::vector<os::Fd> devices;
    HostPartSource next_host_part;
    os::Fd mount_namespace; ///< open when the container is to be in one that exists
};

/// In init: attaches the root, mounts and devices; then `before_pivot`
/// (hooks), and changes into it. The terminal, when there is one, is opened inside.
Result<std::optional<os::Pty>> enter_rootfs(const Spec& spec, const RootfsPlan& plan, RootfsParts parts,
                                            const std::function<Result<>()>& before_pivot);

} // namespace coppice::runtime
