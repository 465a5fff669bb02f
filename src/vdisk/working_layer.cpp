#include "coppice/vdisk/working_layer.h"

#include "coppice/base/id.h"
#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/file_system_user.h"
#include "coppice/os/mount.h"
#include "instance_ids.h"

#include <cerrno>
#include <unistd.h>

namespace coppice::vdisk {

namespace {

constexpr const char* kLayer = WorkingLayer::kDirectory;
constexpr const char* kUpper = "layer/upper";
constexpr const char* kWork = "layer/work";
constexpr const char* kLower = "lower";

Result<> ensure_directory(int dir, const char* name, mode_t mode)
{
    auto made = os::make_directory(dir, name, mode);
    if (made || made.error().os_errno() == EEXIST) return {};
    return made;
}

/// The merged root directory shows the upper one's owner and mode: in a new layer they must be the image's. Mode 0
/// tells that it is new; later they are the instance's to change.
Result<> copy_root_attributes(int image, int upper)
{
    struct stat status{};
    if (::fstat(upper, &status) < 0) return fail_os(errno, "stat the working layer");
    if ((status.st_mode & 07777) != 0) return {};
    if (::fstat(image, &status) < 0) return fail_os(errno, "stat the image's root directory");
    if (::fchown(upper, status.st_uid, status.st_gid) < 0 || ::fchmod(upper, status.st_mode & 07777) < 0)
        return fail_os(errno, "set up the working layer");
    return {};
}

} // namespace

Result<> map_layer(const os::Fd& mount, const os::Fd& user_namespace, const std::string& path)
{
    auto mapped = os::map_mount_ids(mount.get(), user_namespace.get(), false);
    if (mapped) return {};
    return fail(std::move(mapped).error().with(path).hint(
        "put it on a file system such as ext4, xfs, btrfs or EROFS; on tmpfs it needs Linux 6.3"));
}

Result<WorkingLayer> WorkingLayer::open(int directory)
{
    for (const char* const name : {kLower, kLayer, kWork})
        TRY_DOING("working layer", ensure_directory(directory, name, 0700));
    TRY_DOING("working layer", ensure_directory(directory, kUpper, 0)); // see copy_root_attributes
    return WorkingLayer{directory};
}

Result<> WorkingLayer::discard(int directory)
{
    // Renamed away first: an interrupted deletion must not look like a layer to come back to.
    const std::string doomed = cat(kDiscarded, random_hex(8));
    if (::renameat(directory, kLayer, directory, doomed.c_str()) < 0 && errno != ENOENT)
        return fail_os(errno, "discard the working layer");
    return sweep(directory);
}

Result<> WorkingLayer::sweep(int directory)
{
    for (const std::string& name : TRY(os::list_directory(directory, ".")))
        if (name.starts_with(kDiscarded)) TRY_DOING("discard the working layer", os::remove_tree(directory, name));
    return {};
}

Result<os::Fd> WorkingLayer::mount_over(os::Fd image, const std::string& image_path, const os::Fd& user_namespace,
                                        const os::UserMapping& mapping, Durability durability) const
{
    const auto root_uid = os::to_outside(mapping.uids, 0);
    const auto root_gid = os::to_outside(mapping.gids, 0);
    if (!root_uid || !root_gid) return fail(ErrorKind::Invalid, "the id mapping lacks id 0");
    {
        const auto upper = TRY(os::open_at(directory_, kUpper, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
        TRY(copy_root_attributes(image.get(), upper.get()));
    }
    TRY(map_layer(image, user_namespace, cat("root ", image_path)));
    const auto layer = TRY_DOING("working layer", os::clone_mount(directory_, kLayer, false));
    TRY(map_layer(layer, user_namespace, "the directory of working layers"));

    const auto make_overlay = [&]() -> Result<os::Fd> {
        const auto user = TRY(os::FileSystemUser::become(*root_uid, *root_gid));
        // By descriptor: such paths are short and free of the characters that overlayfs treats specially.
        const std::string base = os::path_of(layer.get());
        os::FsParameters parameters{{"source", "coppice"},
                                    {"lowerdir", os::path_of(image.get())},
                                    {"upperdir", base + "/upper"},
                                    {"workdir", base + "/work"},
                                    // A layer may not send overlayfs to other places of the image by redirects.
                                    {"redirect_dir", "nofollow"},
                                    {"metacopy", "off"},
                                    {"index", "off"}};
        if (durability == Durability::None) parameters.emplace_back("volatile", "");
        return os::new_file_system("overlay", parameters, os::mount_attr::kNoDev);
    };
    // Until Linux 6.15 overlayfs takes only layers that are attached in the caller's mount namespace. It keeps copies
    // of its own, so the attachments go again as soon as it is made.
    auto overlay = make_overlay();
    if (overlay || overlay.error().os_errno() != EINVAL) return with_context(std::move(overlay), "working layer");
    TRY_DOING("working layer", os::attach_mount(image.get(), directory_, kLower));
    TRY_DOING("working layer", os::attach_mount(layer.get(), directory_, kLayer));
    overlay = make_overlay();
    TRY(os::detach_mount(layer.get()));
    TRY(os::detach_mount(image.get()));
    return with_context(std::move(overlay), "working layer");
}

} // namespace coppice::vdisk
