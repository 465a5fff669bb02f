#include "coppice/vdisk/layer_mounts.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/loop_device.h"
#include "coppice/os/mount.h"
#include "coppice/store/blob.h"

#include <cerrno>

namespace coppice::vdisk {

namespace {

constexpr std::uint64_t kAttributes = os::mount_attr::kReadOnly | os::mount_attr::kNoDev;

struct Parts {
    os::Fd metadata, blob; ///< no blob: the layer has no content
};

os::FsParameters parameters_of(const std::string& metadata, const std::string& blob)
{
    os::FsParameters parameters{{"source", metadata}, {"ro", ""}};
    if (!blob.empty()) parameters.emplace_back("device", blob);
    return parameters;
}

/// By descriptor: the kernel mounts the very file whose digest was checked.
Result<os::Fd> mount_files(const Parts& parts)
{
    const std::string blob = parts.blob.is_open() ? os::path_of(parts.blob.get()) : "";
    return os::new_file_system("erofs", parameters_of(os::path_of(parts.metadata.get()), blob), kAttributes);
}

Result<os::Fd> mount_loops(const Parts& parts, const std::string& name)
{
    const auto metadata = TRY(os::LoopDevice::over(parts.metadata, name));
    if (!parts.blob.is_open()) return os::new_file_system("erofs", parameters_of(metadata.path(), ""), kAttributes);
    const auto blob = TRY(os::LoopDevice::over(parts.blob, name));
    return os::new_file_system("erofs", parameters_of(metadata.path(), blob.path()), kAttributes);
}

} // namespace

std::string_view to_text(LayerPath path)
{
    switch (path) {
    case LayerPath::Files: return "EROFS from files";
    case LayerPath::Loops: return "EROFS through loop devices";
    }
    return "unknown";
}

LayerMount::~LayerMount()
{
    // What fails here stays mounted where nobody sees it, and goes with the process.
    (void)space_
        ->run([&]() -> Result<> {
            TRY(os::detach_mount_at(name_));
            return os::remove_tree(os::kCwd, name_);
        })
        .has_value();
}

Result<std::shared_ptr<const LayerMount>> LayerMounts::mount(const store::Layer& layer)
{
    Parts parts;
    parts.metadata = TRY(store::open_metadata(*store_, layer));
    if (layer.blob_bytes > 0) parts.blob = TRY(store::open_blob(*store_, layer));

    LayerPath path = best_;
    Result<os::Fd> mounted = path == LayerPath::Files ? mount_files(parts) : mount_loops(parts, layer.digest.hex());
    // ENOTBLK is what a kernel says that wants a block device.
    if (!mounted && path == LayerPath::Files && mounted.error().os_errno() == ENOTBLK) {
        path = LayerPath::Loops;
        mounted = mount_loops(parts, layer.digest.hex());
    }
    const auto mount = TRY(std::move(mounted));
    const std::string name = cat("l", next_++);
    TRY(space_->run([&]() -> Result<> {
        TRY(os::make_directory(os::kCwd, name, 0700));
        return os::attach_mount(mount.get(), os::kCwd, name);
    }));
    return std::make_shared<const LayerMount>(space_, name, path);
}

Result<std::shared_ptr<const LayerMount>> LayerMounts::get(const store::Layer& layer)
{
    std::unique_lock lock{mutex_};
    made_.wait(lock, [&] { return !making_.contains(layer.digest); });
    if (const auto found = mounted_.find(layer.digest); found != mounted_.end()) {
        if (auto mount = found->second.lock()) return mount;
        mounted_.erase(found);
    }
    making_.insert(layer.digest);
    lock.unlock();
    auto made = mount(layer); // its blob may have to be made, which takes long
    lock.lock();
    making_.erase(layer.digest);
    if (made) mounted_.emplace(layer.digest, *made);
    lock.unlock();
    made_.notify_all();
    return with_context(std::move(made), cat("layer ", layer.digest.hex()));
}

} // namespace coppice::vdisk
