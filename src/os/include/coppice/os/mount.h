#pragma once

#include "coppice/os/fd.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// The descriptor-based mount API. A mount that is not attached yet is just an Fd: closing it dissolves it, so a
/// killed process leaves nothing behind. Source: fsopen(2), open_tree(2), move_mount(2), mount_setattr(2); Linux 5.12.
namespace coppice::os {

namespace mount_attr { // MOUNT_ATTR_*
inline constexpr std::uint64_t kReadOnly = 0x1, kNoSuid = 0x2, kNoDev = 0x4, kNoExec = 0x8, kNoAtime = 0x10,
                               kStrictAtime = 0x20, kAtimeMask = 0x70, kNoDirAtime = 0x80, kIdMap = 0x100000,
                               kNoSymFollow = 0x200000;
}

/// Makes a file system instance and returns it as a detached mount.
/// @param parameters name and value, as behind mount(8)'s -o; an empty value makes it a flag
/// Errors: the message carries the kernel's own explanation where it gives one. Blocks on the file system.
using FsParameters = std::vector<std::pair<std::string, std::string>>;
Result<Fd> new_file_system(const std::string& type, const FsParameters& parameters, std::uint64_t attributes);

/// Changes the options of the file system whose root `mount` is open on, for all who have it mounted.
/// Errors: as `new_file_system`
Result<> reconfigure_file_system(int mount, const FsParameters& parameters);

/// A detached copy of the mount at `path` (a bind mount not yet attached).
Result<Fd> clone_mount(int dir, const std::string& path, bool recursive, bool follow_links = true);

/// Changes attributes of a mount, of all below it too when `recursive`.
Result<> set_mount_attributes(int mount, std::uint64_t set, std::uint64_t clear, bool recursive);
/// Makes files of a detached mount appear with the ids that the user namespace maps them to.
/// Errors: Unsupported when the file system has no id-mapped mounts
Result<> map_mount_ids(int mount, int user_namespace, bool recursive);
/// @param propagation MS_PRIVATE, MS_SLAVE, MS_SHARED or MS_UNBINDABLE
Result<> set_mount_propagation(int dir, const std::string& path, std::uint64_t propagation, bool recursive);

/// Attaches a detached mount on `target`, a path or (empty path) the very directory or file `dir` is open on.
Result<> attach_mount(int mount, int dir, const std::string& target);

/// Attaches a detached mount below the one that is mounted at `path`, which stays on top: taken off afterwards, no
/// moment passes in which what is below both can be seen. Errors: Unsupported (before Linux 6.5, or not between these
/// mounts)
Result<> attach_mount_beneath(int mount, const std::string& path);

/// Makes `new_root` the root of this mount namespace and drops the old one. The working directory becomes "/".
Result<> change_root(int new_root);

/// Makes `new_root` the root directory of this process alone: whoever is allowed to may find the way out again.
Result<> change_root_of_process(int new_root);
/// Takes every mount of procfs and sysfs off this mount namespace that lies outside `new_root`, which is attached on
/// top of "/": where the old root is not taken away they would entitle the container to mount new, uncovered ones.
Result<> detach_kernel_mounts();

/// Takes off at once what this mount namespace has of file systems of a type that were mounted from such a source.
/// One that something else covers stays. @param source what it begins with
Result<> detach_mounts(std::string_view type, std::string_view source);

/// Takes an attached mount off at once; whoever still uses it may go on to.
Result<> detach_mount(int mount);
/// Takes off what is mounted at `path`. Errors: Conflict (in use), Invalid (nothing is mounted there)
Result<> unmount(const std::string& path);
/// Whether `unmount` would succeed now. Errors: Conflict (in use: files, working directories, mounts below it)
Result<> check_unused(const std::string& path);
/// The same as `unmount` at once, as detach_mount.
Result<> detach_mount_at(const std::string& path);

/// mount(2) of before the descriptors: what takes more in one option than fsconfig's 255 bytes, up to a page, on
/// kernels that have no other way. @param path a directory, where it is attached. Errors: Invalid (options longer than
/// a page)
Result<> mount_at(const std::string& type, const std::string& source, const std::string& path,
                  const std::string& options);

/// Magic number of the file system that holds `fd`. Source: statfs(2)
Result<std::uint64_t> file_system_magic(int fd);
inline constexpr std::uint64_t kProcMagic = 0x9fa0, kSysfsMagic = 0x62656572, kCgroup2Magic = 0x63677270,
                               kTmpfsMagic = 0x01021994, kErofsMagic = 0xE0F5E1E2;

} // namespace coppice::os
