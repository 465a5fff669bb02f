#include "coppice/os/disk.h"

#include "coppice/base/text.h"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

namespace coppice::os {

Result<> sync_data(int fd, std::string_view name)
{
    if (::fdatasync(fd) < 0) return fail_os(errno, cat("sync ", name)); // not repeated, not even after EINTR
    return {};
}

Result<> sync_directory(int dir, std::string_view name)
{
    if (::fsync(dir) < 0) return fail_os(errno, cat("sync ", name));
    return {};
}

Result<> sync_file_system(int fd, std::string_view name)
{
    if (::syncfs(fd) < 0) return fail_os(errno, cat("sync the file system of ", name));
    return {};
}

void begin_writeback(int fd, std::uint64_t offset, std::uint64_t bytes)
{
    (void)::sync_file_range(fd, static_cast<off64_t>(offset), static_cast<off64_t>(bytes), SYNC_FILE_RANGE_WRITE);
}

Result<> write_at(int fd, std::string_view data, std::uint64_t offset, std::string_view name)
{
    while (!data.empty()) {
        const auto wrote =
            retry_eintr([&] { return ::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset)); });
        if (wrote < 0) return fail_os(errno, cat("write ", name));
        data.remove_prefix(static_cast<std::size_t>(wrote));
        offset += static_cast<std::uint64_t>(wrote);
    }
    return {};
}

Result<> read_at(int fd, char* data, std::size_t size, std::uint64_t offset, std::string_view name)
{
    while (size > 0) {
        const auto got = retry_eintr([&] { return ::pread(fd, data, size, static_cast<off_t>(offset)); });
        if (got < 0) return fail_os(errno, cat("read ", name));
        if (got == 0)
            return fail(ErrorKind::Corrupt, cat(name, " ends at byte ", offset, ", ", size, " bytes too early"));
        data += got;
        size -= static_cast<std::size_t>(got);
        offset += static_cast<std::uint64_t>(got);
    }
    return {};
}

Result<bool> punch_hole(int fd, std::uint64_t offset, std::uint64_t bytes, std::string_view name)
{
    const int done = retry_eintr([&] {
        return ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                           static_cast<off_t>(bytes));
    });
    if (done == 0) return true;
    if (errno == EOPNOTSUPP || errno == ENOSYS) return false;
    return fail_os(errno, cat("free a part of ", name));
}

Result<> truncate(int fd, std::uint64_t bytes, std::string_view name)
{
    if (retry_eintr([&] { return ::ftruncate(fd, static_cast<off_t>(bytes)); }) < 0)
        return fail_os(errno, cat("cut ", name));
    return {};
}

namespace {

/// For file systems that do not know RENAME_NOREPLACE, such as NFS. A link replaces nothing; what cannot be linked (a
/// directory) could replace what came in this very moment: an empty directory, as rename(2) has it.
int rename_without_flag(int from_dir, const char* from, int to_dir, const char* to)
{
    if (::linkat(from_dir, from, to_dir, to, 0) == 0) return ::unlinkat(from_dir, from, 0);
    if (errno == EEXIST) return -1; // which linkat(2) finds before it finds that this is a directory, or knows no links
    return ::renameat(from_dir, from, to_dir, to);
}

} // namespace

Result<> rename_at(int from_dir, const std::string& from, int to_dir, const std::string& to, bool replace)
{
    int done = ::renameat2(from_dir, from.c_str(), to_dir, to.c_str(), replace ? 0 : RENAME_NOREPLACE);
    if (done < 0 && errno == EINVAL && !replace) done = rename_without_flag(from_dir, from.c_str(), to_dir, to.c_str());
    if (done < 0) return fail_os(errno, cat("rename ", from, " to ", to));
    return {};
}

} // namespace coppice::os
