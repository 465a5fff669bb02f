#pragma once

#include "coppice/os/fd.h"
#include "coppice/os/id_map.h"

#include <string>
#include <string_view>

namespace coppice::vdisk {

/// The private, writable layer of one instance: what it changed, file by file, over a shared read-only image.
///
/// On disk it is an overlayfs upper directory in the `trusted.*` form, with the ids that the instance itself sees
/// (its root is 0), whatever host ids it runs under: the layer can be given to any other instance as it is.
/// Below the directory it is made in: layer/upper, layer/work, lower (an empty mount point).
class WorkingLayer {
public:
    /// Makes an empty layer, or opens the one that is there.
    /// @param directory borrowed, of the instance; on a file system that can be an overlay's upper one
    /// Errors: Unavailable (disk full), Denied
    static Result<WorkingLayer> open(int directory);

    /// Deletes the layer with all it holds. Absence is fine.
    static Result<> discard(int directory);
    /// Goes on with deletions that were interrupted.
    static Result<> sweep(int directory);
    /// Where it lies in that directory.
    static constexpr const char* kDirectory = "layer";
    /// What the name of a layer that is being deleted begins with.
    static constexpr std::string_view kDiscarded = ".discarded-";

    enum class Durability : unsigned char {
        Normal,
        None, ///< the layer will be undone at the end: nothing in it is synced (overlay option "volatile")
    };

    /// The image seen through this layer, as a detached mount.
    ///
    /// @param image detached mount, see Image::mount
    /// @param user_namespace whose ids files appear with, and `mapping` that it has
    /// Needs a mount namespace of the caller's own (layers are attached there for a moment), a single thread, and
    /// Linux 5.19 with file systems that allow id-mapped mounts. Errors: Unsupported, naming the file system's path
    Result<os::Fd> mount_over(os::Fd image, const std::string& image_path, const os::Fd& user_namespace,
                              const os::UserMapping& mapping, Durability durability) const;

private:
    explicit WorkingLayer(int directory) : directory_{directory} {}
    int directory_;
};

} // namespace coppice::vdisk
