#pragma once

#include "coppice/vdisk/snapshot_mounts.h"

#include <optional>
#include <string>
#include <vector>

namespace coppice::vdisk {

inline constexpr std::size_t kMostLowers = 500; ///< of overlayfs itself

/// What the mount table shows as the source of an overlay over a snapshot.
inline std::string source_of(const store::SnapshotId& below) { return kMountSource + below.hex(); }

struct OverlayPlan {
    std::vector<std::string> lowers;      ///< paths inside the space, topmost first
    std::optional<std::string> directory; ///< of the upper and the work directory ("upper", "work"), inside the space
    std::string source = "coppice";       ///< what the mount table shows
    bool throw_away = false;              ///< nothing is synced
    std::optional<InstanceIds> ids = {};  ///< the layers' files appear with these
    bool by_option_string = false;        ///< as on kernels before 6.7, whatever this one can; for tests
};

/// Stacks directories of a mount space as a detached mount. Layers are trusted for nothing: no redirects, no metacopy.
/// Errors: Unavailable (more than kMostLowers), those of the kernel. Source:
/// Documentation/filesystems/overlayfs.rst; `lowerdir+` is Linux 6.7's, before it the option string of mount(2).
Result<os::Fd> make_overlay(const os::MountSpace& space, const OverlayPlan& plan, std::uint64_t attributes);

} // namespace coppice::vdisk
