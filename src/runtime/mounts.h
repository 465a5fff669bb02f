#pragma once

#include "coppice/os/cgroup.h"
#include "coppice/os/fd.h"
#include "coppice/runtime/spec.h"
#include "mount_options.h"

#include <functional>
#include <string>
#include <vector>

namespace coppice::runtime {

/// One mount of a container with its options parsed.
struct PlannedMount {
    const MountSpec* spec;
    MountOptions options;
    std::string label; ///< SELinux context; empty: none
    /// Whether a part of it comes from the creator, see HostParts.
    [[nodiscard]] bool needs_host() const
    {
        return !options.remount && (options.bind || options.id_map || spec->mapping.has_value());
    }
};

/// What a `cgroup` mount is to show.
struct CgroupView {
    os::CgroupLayout layout;
    os::CgroupPaths own; ///< directories that the container is in
    bool own_namespace = false;
};

/// Parses and checks all mounts before anything is made. Errors: Invalid, Unsupported, naming the destination
Result<std::vector<PlannedMount>> plan_mounts(const Spec& spec);

/// What mounts need of the host, in the order of the plan: bind mounts a detached copy of their source, with their
/// attributes and id mapping; file systems with mapped ids the user namespace of the mapping.
///
/// Opened in the creating process, and only when their turn comes: the kernel lists mounts by their age, and is to
/// list them in the order of the configuration.
class HostParts {
public:
    /// @param plan borrowed; @param bundle directory that relative sources start at
    /// @param user_namespace the container's, when it has one; borrowed
    HostParts(const std::vector<PlannedMount>& plan, std::string bundle, const os::Fd& user_namespace)
        : plan_{&plan}, bundle_{std::move(bundle)}, user_namespace_{&user_namespace}
    {
    }
    /// The next one, and those that follow it without another mount between them. Empty when there are no more.
    Result<std::vector<os::Fd>> next();

private:
    const std::vector<PlannedMount>* plan_;
    std::string bundle_;
    const os::Fd* user_namespace_;
    std::size_t at_ = 0;
};

/// In the container's init, before the change of root: makes every mount below `root`. Mount points are resolved by
/// the kernel inside `root` and held by descriptor, so no link and no race leads out of it.
/// @param next_host_part gives what `HostParts` opened, one by one
using HostPartSource = std::function<Result<os::Fd>()>;
Result<> make_mounts(int root, const std::vector<PlannedMount>& plan, const HostPartSource& next_host_part,
                     const CgroupView& cgroup);

/// In the container's init; `root` is the container's, attached or not, with its mounts.
Result<> mask_paths(int root, const std::vector<std::string>& paths);
Result<> make_paths_readonly(int root, const std::vector<std::string>& paths);

/// MS_* and whether it is recursive, from `rootfsPropagation`; 0 when empty: private, as it was made. Errors: Invalid
Result<std::pair<std::uint64_t, bool>> parse_propagation(const std::string& word);

} // namespace coppice::runtime
