#pragma once

#include "coppice/os/cgroup.h"
#include "coppice/os/fd.h"
#include "coppice/runtime/spec.h"
#include "mount_options.h"

#include <string>
#include <vector>

namespace coppice::runtime {

/// One mount of a container with its options parsed.
struct PlannedMount {
    const MountSpec* spec;
    MountOptions options;
};

/// What a `cgroup` mount is to show.
struct CgroupView {
    os::CgroupLayout layout;
    os::CgroupPaths own; ///< directories that the container is in
    bool own_namespace = false;
};

/// Parses and checks all mounts before anything is made. Errors: Invalid, Unsupported, naming the destination
Result<std::vector<PlannedMount>> plan_mounts(const Spec& spec);

/// In the creating process: the sources of the bind mounts as detached mounts with their attributes and id mapping,
/// in the order of the plan. @param bundle directory that relative sources start at
Result<std::vector<os::Fd>> open_bind_mounts(const std::vector<PlannedMount>& plan, const std::string& bundle,
                                             const os::Fd& user_namespace);

/// In the container's init, before the change of root: makes every mount below `root`. Mount points are resolved by
/// the kernel inside `root` and held by descriptor, so no link and no race leads out of it.
/// @param binds what `open_bind_mounts` returned
Result<> make_mounts(int root, const std::vector<PlannedMount>& plan, std::vector<os::Fd> binds,
                     const CgroupView& cgroup);

/// In the container, after the change of root.
Result<> mask_paths(const std::vector<std::string>& paths);
Result<> make_paths_readonly(const std::vector<std::string>& paths);

/// MS_* and whether it is recursive, from `rootfsPropagation`; 0 when empty: private, as it was made. Errors: Invalid
Result<std::pair<std::uint64_t, bool>> parse_propagation(const std::string& word);

} // namespace coppice::runtime
