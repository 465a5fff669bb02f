#include "coppice/os/mount.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/syscalls.h"
#include "mountinfo.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <set>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace coppice::os {

namespace {

/// What the kernel wrote into the file system context: "e overlay: No such file" lines. Source: fsopen(2) "NOTES".
std::string kernel_explanation(int fs)
{
    std::string all;
    std::array<char, 512> line{};
    for (ssize_t got = 0; (got = ::read(fs, line.data(), line.size())) > 0;) {
        std::string_view text{line.data(), static_cast<std::size_t>(got)};
        if (text.starts_with("e ") || text.starts_with("w ")) text.remove_prefix(2);
        while (text.ends_with('\n'))
            text.remove_suffix(1);
        all += cat(all.empty() ? "" : "; ", text);
    }
    return all;
}

std::unexpected<Error> explain(int number, int fs, const std::string& what)
{
    Error error = Error::os(number, what);
    const std::string words = kernel_explanation(fs);
    return words.empty() ? fail(std::move(error)) : fail(std::move(error).hint(cat("the kernel says: ", words)));
}

Result<> set_parameters(const Fd& fs, const FsParameters& parameters, const std::string& type)
{
    for (const auto& [key, value] : parameters) {
        const auto command = value.empty() ? sys::FsconfigCommand::SetFlag : sys::FsconfigCommand::SetString;
        const char* const text = value.empty() ? nullptr : value.c_str();
        if (sys::fsconfig(fs.get(), command, key.c_str(), text, 0) < 0)
            return explain(errno, fs.get(), cat("set option ", key, value.empty() ? "" : "=", value, " of ", type));
    }
    return {};
}

/// The mount points of whole procfs and sysfs mounts.
Result<std::vector<std::string>> kernel_mount_points()
{
    const auto table = TRY(read_file(kCwd, "/proc/self/mountinfo"));
    std::vector<std::string> points;
    for (const MountLine& mount : parse_mountinfo(table))
        if (mount.root == "/" && (mount.type == "proc" || mount.type == "sysfs"))
            points.push_back(unescape_mount(mount.point));
    return points;
}

} // namespace

Result<> reconfigure_file_system(int mount, const FsParameters& parameters)
{
    const Fd fs{sys::fspick(mount)};
    if (!fs.is_open()) return fail_os(errno, "pick a mounted file system");
    TRY(set_parameters(fs, parameters, "the mounted file system"));
    if (sys::fsconfig(fs.get(), sys::FsconfigCommand::Reconfigure, nullptr, nullptr, 0) < 0)
        return explain(errno, fs.get(), "change the options of a mounted file system");
    return {};
}

Result<Fd> new_file_system(const std::string& type, const FsParameters& parameters, std::uint64_t attributes)
{
    const Fd fs{sys::fsopen(type.c_str())};
    if (!fs.is_open()) {
        if (errno == ENODEV)
            return fail(ErrorKind::Unsupported, cat("this kernel has no file system type '", type, "'"));
        return fail_os(errno, cat("open file system type ", type));
    }
    TRY(set_parameters(fs, parameters, type));
    if (sys::fsconfig(fs.get(), sys::FsconfigCommand::Create, nullptr, nullptr, 0) < 0)
        return explain(errno, fs.get(), cat("mount a file system of type ", type));
    Fd mount{sys::fsmount(fs.get(), attributes)};
    if (!mount.is_open()) return explain(errno, fs.get(), cat("mount a file system of type ", type));
    return mount;
}

Result<Fd> clone_mount(int dir, const std::string& path, bool recursive, bool follow_links)
{
    const unsigned flags = sys::kOpenTreeClone | O_CLOEXEC | (path.empty() ? AT_EMPTY_PATH : 0U) |
                           (recursive ? sys::kAtRecursive : 0U) | (follow_links ? 0U : AT_SYMLINK_NOFOLLOW);
    Fd mount{sys::open_tree(dir, path.c_str(), flags)};
    if (!mount.is_open()) return fail_os(errno, cat("bind ", path));
    return mount;
}

Result<> set_mount_attributes(int mount, std::uint64_t set, std::uint64_t clear, bool recursive)
{
    const sys::MountAttr attr{.set = set, .clear = clear};
    if (sys::mount_setattr(mount, "", AT_EMPTY_PATH | (recursive ? sys::kAtRecursive : 0U), attr) < 0)
        return fail_os(errno, "set mount attributes");
    return {};
}

Result<> map_mount_ids(int mount, int user_namespace, bool recursive)
{
    const sys::MountAttr attr{.set = mount_attr::kIdMap, .userns_fd = static_cast<std::uint64_t>(user_namespace)};
    if (sys::mount_setattr(mount, "", AT_EMPTY_PATH | (recursive ? sys::kAtRecursive : 0U), attr) == 0) return {};
    if (errno == EINVAL)
        return fail(ErrorKind::Unsupported, "this file system cannot be mounted with mapped ids on this kernel");
    return fail_os(errno, "map the ids of a mount");
}

Result<> set_mount_propagation(int dir, const std::string& path, std::uint64_t propagation, bool recursive)
{
    const sys::MountAttr attr{.propagation = propagation};
    const unsigned flags = (recursive ? sys::kAtRecursive : 0U) | (path.empty() ? AT_EMPTY_PATH : 0U);
    if (sys::mount_setattr(dir, path.c_str(), flags, attr) < 0)
        return fail_os(errno, cat("change mount propagation of ", path));
    return {};
}

Result<> attach_mount(int mount, int dir, const std::string& target)
{
    const unsigned flags = sys::kMoveMountFromEmptyPath | (target.empty() ? sys::kMoveMountToEmptyPath : 0U);
    if (sys::move_mount(mount, "", dir, target.c_str(), flags) < 0) return fail_os(errno, cat("attach mount ", target));
    return {};
}

Result<> attach_mount_beneath(int mount, const std::string& path)
{
    if (sys::move_mount(mount, "", kCwd, path.c_str(), sys::kMoveMountFromEmptyPath | sys::kMoveMountBeneath) == 0)
        return {};
    if (errno == EINVAL) return fail(ErrorKind::Unsupported, cat("nothing can be mounted beneath ", path));
    return fail_os(errno, cat("mount beneath ", path));
}

Result<> change_root(int new_root)
{
    const Fd old_root{::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (!old_root.is_open()) return fail_os(errno, "open the old root");
    if (::fchdir(new_root) < 0) return fail_os(errno, "enter the new root");
    // Old and new root in one place: the old one ends up stacked on top and is taken off again, so that no
    // directory for it is needed inside the new root. Source: pivot_root(2), "pivot_root(".", ".")".
    if (sys::pivot_root(".", ".") < 0) return fail_os(errno, "pivot_root");
    if (::fchdir(old_root.get()) < 0) return fail_os(errno, "enter the old root");
    if (::umount2(".", MNT_DETACH) < 0) return fail_os(errno, "detach the old root");
    if (::chdir("/") < 0) return fail_os(errno, "enter the new root");
    return {};
}

Result<> change_root_of_process(int new_root)
{
    if (::fchdir(new_root) < 0 || ::chroot(".") < 0 || ::chdir("/") < 0)
        return fail_os(errno, "change the root directory");
    return {};
}

Result<> detach_kernel_mounts()
{
    for (const std::string& point : TRY(kernel_mount_points())) {
        if (::umount2(point.c_str(), MNT_DETACH) == 0 || errno == ENOENT)
            continue; // gone with one above it, or it is below the new root
        // Of another user namespace: locked, so it can be covered at most.
        if (errno != EINVAL && errno != EPERM) return fail_os(errno, cat("unmount ", point));
        const auto cover = TRY(new_file_system("tmpfs", {{"size", "0k"}}, mount_attr::kReadOnly));
        TRY(attach_mount(cover.get(), kCwd, point));
    }
    return {};
}

Result<> detach_mounts(std::string_view type, std::string_view source)
{
    const auto table = TRY(read_file(kCwd, "/proc/self/mountinfo"));
    const auto lines = parse_mountinfo(table);
    std::set<std::string> covered; // later lines lie on top of earlier ones
    for (auto line = lines.rbegin(); line != lines.rend(); ++line) {
        const std::string point = unescape_mount(line->point);
        if (!covered.insert(point).second || line->type != type || !unescape_mount(line->source).starts_with(source))
            continue;
        if (::umount2(point.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != ENOENT)
            return fail_os(errno, cat("unmount ", point));
    }
    return {};
}

Result<> detach_mount(int mount)
{
    if (::umount2(cat("/proc/self/fd/", mount).c_str(), MNT_DETACH) < 0) return fail_os(errno, "unmount");
    return {};
}

namespace {

Error in_use(const std::string& path)
{
    return Error{ErrorKind::Conflict, cat("unmount ", path, ": it is in use")}.hint(
        "end the programs that have files open below it");
}

} // namespace

Result<> check_unused(const std::string& path)
{
    // The first of two such calls unmounts nothing, and the second would if nobody came by between them: the look at
    // the mount takes back the mark of an earlier call. Source: umount(2), MNT_EXPIRE
    Fd look{::open(path.c_str(), O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC)};
    if (!look.is_open()) return fail_os(errno, cat("open ", path));
    look.reset();
    if (::umount2(path.c_str(), MNT_EXPIRE | UMOUNT_NOFOLLOW) == 0)
        return fail(ErrorKind::Conflict, cat(path, " is mounted and unmounted by others"));
    if (errno == EAGAIN) return {};
    if (errno == EBUSY) return fail(in_use(path));
    return fail_os(errno, cat("look whether ", path, " is in use"));
}

Result<> unmount(const std::string& path)
{
    if (::umount2(path.c_str(), UMOUNT_NOFOLLOW) == 0) return {};
    if (errno == EBUSY) return fail(in_use(path));
    if (errno == EINVAL) return fail(ErrorKind::Invalid, cat("unmount ", path, ": nothing is mounted there"));
    return fail_os(errno, cat("unmount ", path));
}

Result<> detach_mount_at(const std::string& path)
{
    if (::umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) < 0) return fail_os(errno, cat("detach ", path));
    return {};
}

Result<> mount_at(const std::string& type, const std::string& source, const std::string& path,
                  const std::string& options)
{
    constexpr std::size_t kPageBytes = 4096; // the kernel cuts what is longer, without a word
    if (options.size() >= kPageBytes)
        return fail(ErrorKind::Invalid, cat("the options of ", type, " have ", options.size(), " bytes, more than ",
                                            kPageBytes - 1, " that this kernel takes"));
    if (::mount(source.c_str(), path.c_str(), type.c_str(), 0, options.c_str()) < 0)
        return fail_os(errno, cat("mount a file system of type ", type));
    return {};
}

Result<std::uint64_t> file_system_magic(int fd)
{
    struct statfs status{};
    if (::fstatfs(fd, &status) < 0) return fail_os(errno, "statfs");
    return static_cast<std::uint64_t>(static_cast<unsigned long>(status.f_type));
}

} // namespace coppice::os
