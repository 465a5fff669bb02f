#pragma once

#include "coppice/os/mount_space.h"
#include "coppice/store/layer.h"

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

namespace coppice::vdisk {

/// How the kernel reads a layer; the better one first.
enum class LayerPath : unsigned char {
    Files, ///< the kernel reads metadata and blob as they are (Linux 6.12)
    Loops, ///< one loop device for each (Linux 5.16)
};
std::string_view to_text(LayerPath path);

/// A layer that is mounted in the process's own mount namespace. Everybody who uses it shares one page cache.
class LayerMount {
public:
    LayerMount(std::shared_ptr<const os::MountSpace> space, std::string name, LayerPath path)
        : space_{std::move(space)}, name_{std::move(name)}, path_{path}
    {
    }
    LayerMount(const LayerMount&) = delete;
    LayerMount& operator=(const LayerMount&) = delete;
    ~LayerMount(); ///< the mount goes; file systems that were stacked on it keep what they need

    [[nodiscard]] const std::string& name() const { return name_; } ///< its directory inside the space
    [[nodiscard]] LayerPath path() const { return path_; }

private:
    std::shared_ptr<const os::MountSpace> space_;
    std::string name_;
    LayerPath path_;
};

/// The layers that this process has mounted, each one once. Any thread.
class LayerMounts {
public:
    /// @param best the best path to try, for tests
    LayerMounts(store::Store& store, std::shared_ptr<const os::MountSpace> space, LayerPath best = LayerPath::Files)
        : store_{&store}, space_{std::move(space)}, best_{best}
    {
    }
    /// Mounts the layer, or finds it mounted. Its metadata is verified before the kernel sees it, its blob is made from
    /// the packs if there is none. Read-only and without device nodes. Blocks.
    /// Errors: Corrupt, Unsupported (no EROFS in this kernel; neither files nor loop devices)
    Result<std::shared_ptr<const LayerMount>> get(const store::Layer& layer);

private:
    Result<std::shared_ptr<const LayerMount>> mount(const store::Layer& layer);

    store::Store* store_;
    std::shared_ptr<const os::MountSpace> space_;
    LayerPath best_;
    std::mutex mutex_; ///< of the two below
    std::condition_variable made_;
    std::set<store::LayerDigest> making_; ///< two at once must not become two mounts
    std::map<store::LayerDigest, std::weak_ptr<const LayerMount>> mounted_;
    std::atomic<std::uint64_t> next_ = 0;
};

} // namespace coppice::vdisk
