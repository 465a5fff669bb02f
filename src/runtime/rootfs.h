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
};
Result<RootfsPlan> plan_rootfs(const Spec& spec, os::CgroupLayout layout, const os::CgroupPaths& own);

/// The mounts that came from outside, in the order in which they are handed over.
struct RootfsParts {
    os::Fd root;
    std::vector<os::Fd> binds, devices;
};

/// In init, in its new mount namespace: attaches the root, mounts and devices; then `before_pivot` (hooks), and
/// changes into it. The terminal, when there is one, is opened inside.
Result<std::optional<os::Pty>> enter_rootfs(const Spec& spec, const RootfsPlan& plan, RootfsParts parts,
                                            const std::function<Result<>()>& before_pivot);

} // namespace coppice::runtime
