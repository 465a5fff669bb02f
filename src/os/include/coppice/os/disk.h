#pragma once

#include "coppice/os/fd.h"

#include <cstdint>
#include <string>
#include <string_view>

/// Data at given places of files, and getting it onto the disk. Every call blocks; any thread. Errors carry `name`.
namespace coppice::os {

/// fdatasync(2). After an error what the file holds on disk is unknown, and trying again reports success without reason
/// (the kernel marks the pages clean): never go on with that file.
Result<> sync_data(int fd, std::string_view name);
/// Makes creations, renames and removals in a directory last. Source: fsync(2)
Result<> sync_directory(int dir, std::string_view name);
/// Everything of the file system that `fd` is on. Source: syncfs(2); reports write errors since Linux 5.8
Result<> sync_file_system(int fd, std::string_view name);
/// Tells the kernel to begin writing a range to the disk; waits for nothing and promises nothing.
void begin_writeback(int fd, std::uint64_t offset, std::uint64_t bytes);

/// Writes all of `data` at `offset`; a short write goes on. Errors: Unavailable (disk full)
Result<> write_at(int fd, std::string_view data, std::uint64_t offset, std::string_view name);
/// Fills `data` from `offset`. Errors: Corrupt (the file ends before)
Result<> read_at(int fd, char* data, std::size_t size, std::uint64_t offset, std::string_view name);

/// Frees a range; it reads as zeros afterwards. Where the file system cannot, nothing happens and the result is false.
Result<bool> punch_hole(int fd, std::uint64_t offset, std::uint64_t bytes, std::string_view name);
/// Sets the size; what is behind it is gone.
Result<> truncate(int fd, std::uint64_t bytes, std::string_view name);

/// renameat2(2), also where the file system knows no RENAME_NOREPLACE (NFS, some of FUSE).
/// @param replace whether an existing target may go. Errors: Conflict (exists)
Result<> rename_at(int from_dir, const std::string& from, int to_dir, const std::string& to, bool replace = true);

} // namespace coppice::os
