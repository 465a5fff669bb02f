#pragma once

#include "coppice/os/fd.h"

#include <cstdint>
#include <fcntl.h>
#include <optional>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <vector>

/// Files and directories by descriptor. Every call may block on the file system; any thread. Errors carry the path.
namespace coppice::os {

/// Directory argument for paths that are absolute or relative to the working directory.
inline constexpr int kCwd = AT_FDCWD;

/// openat(2) with O_CLOEXEC.
Result<Fd> open_at(int dir, const std::string& path, int flags, mode_t mode = 0);

/// Opens a path of an untrusted tree: symbolic links, absolute ones too, are resolved as if `root` were the root
/// directory, and magic links are refused. Never leaves `root`. Source: openat2(2), RESOLVE_IN_ROOT.
Result<Fd> open_in_root(int root, const std::string& path, int flags, mode_t mode = 0, bool follow_links = true);

/// Opens a path below `dir`; a symbolic link anywhere in it, or a way out of `dir`, is refused (ELOOP, EXDEV).
/// Source: openat2(2), RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS.
Result<Fd> open_beneath(int dir, const std::string& path, int flags, mode_t mode = 0);

/// Opens a path below `dir` and on the very mount that `dir` is on: what is mounted over a part of it is refused, too.
/// For the kernel's own file systems, whose files must be the real ones. Source: openat2(2), RESOLVE_NO_XDEV.
Result<Fd> open_on_mount(int dir, const std::string& path, int flags);

enum class PathKind : unsigned char { Directory, File };

/// O_PATH descriptor of `path` inside the untrusted tree `root`; missing parents and the last component are created
/// (directories 0755, files 0644). Nothing is ever created outside `root`, whatever a racing process does to the tree.
/// Errors: Invalid (`..` behind a missing component), Conflict (exists as another kind)
Result<Fd> make_in_root(int root, const std::string& path, PathKind kind, bool follow_links = true);

/// Whole content. Errors: Invalid when larger than `most` bytes.
Result<std::string> read_all(const Fd& file, std::size_t most, std::string_view name);
Result<std::string> read_file(int dir, const std::string& path, std::size_t most = 16U << 20);

/// Writes all of `data`; a short write goes on. Errors: Unavailable (disk full)
Result<> write_all(int fd, std::string_view data, std::string_view name);

/// Opens an existing file for writing and hands `data` over with one write(2), as control files want it.
Result<> write_control(int dir, const std::string& path, std::string_view data);

/// Replaces a file by rename, so that readers see the old or the new content and never a part.
/// @param mode as it is, whatever the umask
/// @param durable synced before the rename: after a power cut, too, the old or the new content is there
Result<> replace_file(int dir, const std::string& path, std::string_view data, mode_t mode = 0600,
                      bool durable = false);

/// The same for a file in a directory of ours that means nothing after the next boot. The two files exchange their
/// names: what is renamed over another ext4 writes to the disk at once, and removing it later costs a discard of its
/// blocks.
Result<> replace_passing_file(int dir, const std::string& path, std::string_view data, mode_t mode = 0600);

/// @param mode as it is, whatever the umask: instances have to get through some of them
Result<> make_directory(int dir, const std::string& path, mode_t mode);
/// Creates missing parents too; an existing directory is fine. `path` must be trusted.
Result<> make_directories(const std::string& path, mode_t mode);
/// Removes a file; absence is fine.
Result<> remove_file(int dir, const std::string& path);
/// Names in a directory without "." and "..". The order is the file system's.
Result<std::vector<std::string>> list_directory(int dir, const std::string& path);
/// Those that are directories; links to directories are not.
Result<std::vector<std::string>> list_subdirectories(int dir, const std::string& path);

/// fstatat(2); empty when nothing is there.
Result<std::optional<struct stat>> find_status(int dir, const std::string& path, bool follow_links = true);
bool exists(int dir, const std::string& path);
/// The same where the answer decides what is done: a disk that cannot say is no "no".
Result<bool> is_there(int dir, const std::string& path);

/// Deletes a directory tree. Follows no symbolic link and enters no other file system: a mount left inside makes it
/// fail with Conflict instead of emptying what is mounted there. Absence is fine.
Result<> remove_tree(int dir, const std::string& path);

/// The path of an open descriptor as the kernel names it, for calls that take only paths.
std::string path_of(int fd);

} // namespace coppice::os
