#include "device_nodes.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/mount.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <utility>

namespace coppice::instance {

namespace {

Result<DeviceNode> make_node(int directory, const std::string& name, const Device& device,
                             const os::UserMapping& mapping)
{
    struct stat status{};
    if (::stat(device.source.c_str(), &status) < 0)
        return fail(Error::os(errno, cat("device ", device.source)).hint("it must exist on the host"));
    if (!S_ISCHR(status.st_mode) && !S_ISBLK(status.st_mode))
        return fail(ErrorKind::Conflict, cat("device ", device.source, ": it is no device"));
    if (::mknodat(directory, name.c_str(), status.st_mode & S_IFMT, status.st_rdev) < 0)
        return fail_os(errno, cat("make the node of ", device.source));
    // An owner beyond the instance's ids could not use it: its root then takes the place.
    const auto uid =
        os::to_outside(mapping.uids, status.st_uid).or_else([&] { return os::to_outside(mapping.uids, 0); });
    const auto gid =
        os::to_outside(mapping.gids, status.st_gid).or_else([&] { return os::to_outside(mapping.gids, 0); });
    if (::fchownat(directory, name.c_str(), uid.value_or(0), gid.value_or(0), AT_SYMLINK_NOFOLLOW) < 0 ||
        ::fchmodat(directory, name.c_str(), status.st_mode & 0777, 0) < 0)
        return fail_os(errno, cat("set owner and mode of the node of ", device.source));
    return DeviceNode{.source = {},
                      .destination = device.destination,
                      .type = S_ISBLK(status.st_mode) ? 'b' : 'c',
                      .major = major(status.st_rdev),
                      .minor = minor(status.st_rdev),
                      .access = device.access};
}

} // namespace

Result<DeviceNodes> DeviceNodes::make(std::string directory, const std::vector<Device>& devices,
                                      const os::UserMapping& mapping)
{
    DeviceNodes made;
    if (devices.empty()) return made;
    const auto mount = TRY_DOING("devices", os::new_file_system("tmpfs", {{"mode", "0700"}, {"size", "64k"}},
                                                                os::mount_attr::kNoSuid | os::mount_attr::kNoExec));
    for (const Device& device : devices) {
        const std::string name = cat(made.nodes_.size());
        auto node = TRY(make_node(mount.get(), name, device, mapping));
        node.source = cat(directory, '/', name);
        made.nodes_.push_back(std::move(node));
    }
    if (auto there = os::make_directory(os::kCwd, directory, 0700); !there && there.error().os_errno() != EEXIST)
        return fail(std::move(there).error().with("devices")); // what a killed start left will do
    TRY_DOING("devices", os::attach_mount(mount.get(), os::kCwd, directory));
    made.mounted_at_ = std::move(directory);
    return made;
}

DeviceNodes::DeviceNodes(DeviceNodes&& other) noexcept
    : mounted_at_{std::exchange(other.mounted_at_, {})}, nodes_{std::move(other.nodes_)}
{
}

DeviceNodes::~DeviceNodes()
{
    if (mounted_at_.empty()) return;
    // An empty directory that stays does no harm, and goes with the instance.
    [[maybe_unused]] const auto detached = os::detach_mount_at(mounted_at_);
    ::rmdir(mounted_at_.c_str());
}

} // namespace coppice::instance
