#pragma once

#include "coppice/os/fd.h"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <sys/stat.h>

/// Parts of a copy that is like its original. Every call may block on the file system; any thread.
namespace coppice::os {

/// Lets an empty file have the content of another one in common with it, until one of them is changed. False where the
/// file system cannot. Source: ioctl_ficlone(2)
Result<bool> clone_content(int from, int to, std::string_view name);

/// Copies `bytes` of content into an empty file of the same file system; holes stay holes. Ends earlier where `from`
/// does. @param step called with the bytes that were copied since; its error ends the copy
/// Errors: Unavailable (no space left). Source: copy_file_range(2), SEEK_DATA
Result<> copy_content(int from, int to, std::uint64_t bytes, std::string_view name,
                      const std::function<Result<>(std::uint64_t bytes)>& step);

/// Copies the link `name` of one directory into another one. Errors: NotFound
Result<> copy_link(int from, int to, const std::string& name);

/// Everything of `status` that is neither content nor an extended attribute: owner, mode, times. `name` in `to` is not
/// followed.
Result<> copy_properties(const struct stat& status, int to, const std::string& name);

/// Gives `to` the extended attributes of `from`, and takes others away, but for security.* and those that begin with
/// `keep`. Neither path is followed if it is a link.
Result<> copy_xattrs(const std::string& from, const std::string& to, std::string_view keep);

/// Waits until the file's dirty pages are written, without its metadata: whoever stores through a mapping after that
/// changes the file's ctime. @param step called now and then, with 0; its error ends it. Source: sync_file_range(2); it
/// is no way to make anything last
Result<> write_pages_back(int fd, std::uint64_t bytes, std::string_view name,
                          const std::function<Result<>(std::uint64_t bytes)>& step);

} // namespace coppice::os
