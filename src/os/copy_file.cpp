#include "coppice/os/copy_file.h"

#include "coppice/base/text.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <vector>

namespace coppice::os {

namespace {

constexpr std::uint64_t kStepBytes = 16U << 20, kWriteBackBytes = 64U << 20;
constexpr std::size_t kUsualXattrBytes = 1024, kMostXattrBytes = 64U << 10; // XATTR_LIST_MAX, XATTR_SIZE_MAX

struct Range {
    std::uint64_t begin = 0, end = 0;
};

/// The next data at `offset` or behind it; empty behind the last.
Result<Range> next_data(int from, std::uint64_t offset, std::uint64_t bytes, std::string_view name)
{
    const auto begin = ::lseek(from, static_cast<off_t>(offset), SEEK_DATA);
    if (begin < 0 && errno == ENXIO) return Range{};
    const auto end = begin < 0 ? begin : ::lseek(from, begin, SEEK_HOLE);
    if (end < 0 && errno == ENXIO) return Range{}; // it was cut meanwhile
    if (end < 0) return fail_os(errno, cat("look for the data of ", name));
    return Range{.begin = static_cast<std::uint64_t>(begin), .end = std::min(static_cast<std::uint64_t>(end), bytes)};
}

Result<> copy_range(int from, int to, const Range& range, std::string_view name,
                    const std::function<Result<>(std::uint64_t bytes)>& step)
{
    auto in = static_cast<off64_t>(range.begin), out = in;
    const auto end = static_cast<off64_t>(range.end);
    while (in < end) {
        const auto most = std::min(static_cast<std::uint64_t>(end - in), kStepBytes);
        const auto copied = retry_eintr([&] { return ::copy_file_range(from, &in, to, &out, most, 0); });
        if (copied < 0) return fail_os(errno, cat("copy ", name));
        if (copied == 0) return {};
        TRY(step(static_cast<std::uint64_t>(copied)));
    }
    return {};
}

/// What `read(data, size)` gives; -1: errno says why nothing.
template <typename Read> ssize_t fill(std::string& buffer, Read read)
{
    buffer.resize(kUsualXattrBytes);
    auto got = read(buffer.data(), buffer.size());
    if (got < 0 && errno == ERANGE) {
        buffer.resize(kMostXattrBytes);
        got = read(buffer.data(), buffer.size());
    }
    buffer.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    return got;
}

Result<std::vector<std::string>> xattr_names(const std::string& path)
{
    std::string names;
    const auto got = fill(names, [&](char* data, std::size_t size) { return ::llistxattr(path.c_str(), data, size); });
    if (got < 0 && errno != ENOTSUP) return fail_os(errno, "list extended attributes");
    std::vector<std::string> list;
    for (const std::string_view name : split(names, '\0'))
        if (!name.empty()) list.emplace_back(name);
    return list;
}

} // namespace

Result<bool> clone_content(int from, int to, std::string_view name)
{
    if (retry_eintr([&] { return ::ioctl(to, FICLONE, from); }) == 0) return true;
    if (errno == EOPNOTSUPP || errno == ENOTTY || errno == EINVAL || errno == EXDEV) return false;
    return fail_os(errno, cat("share the content of ", name));
}

Result<> copy_content(int from, int to, std::uint64_t bytes, std::string_view name,
                      const std::function<Result<>(std::uint64_t bytes)>& step)
{
    if (::ftruncate(to, static_cast<off_t>(bytes)) < 0) return fail_os(errno, cat("make room for ", name));
    for (std::uint64_t offset = 0; offset < bytes;) {
        const auto range = TRY(next_data(from, offset, bytes, name));
        if (range.begin >= range.end) return {};
        TRY(copy_range(from, to, range, name, step));
        offset = range.end;
    }
    return {};
}

Result<> copy_link(int from, int to, const std::string& name)
{
    std::string target(PATH_MAX, '\0');
    const auto length = ::readlinkat(from, name.c_str(), target.data(), target.size());
    if (length < 0) return fail_os(errno, cat("read link ", name));
    target.resize(static_cast<std::size_t>(length));
    if (::symlinkat(target.c_str(), to, name.c_str()) < 0) return fail_os(errno, cat("copy link ", name));
    return {};
}

Result<> copy_properties(const struct stat& status, int to, const std::string& name)
{
    // A change of the owner takes set-user-id bits away, so the mode comes after it. Links have none.
    const std::array<timespec, 2> times{status.st_atim, status.st_mtim};
    if (::fchownat(to, name.c_str(), status.st_uid, status.st_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
        (!S_ISLNK(status.st_mode) && ::fchmodat(to, name.c_str(), status.st_mode & 07777, 0) < 0) ||
        ::utimensat(to, name.c_str(), times.data(), AT_SYMLINK_NOFOLLOW) < 0)
        return fail_os(errno, cat("copy owner, mode and times of ", name));
    return {};
}

Result<> copy_xattrs(const std::string& from, const std::string& to, std::string_view keep)
{
    const auto wanted = TRY(xattr_names(from));
    for (const std::string& name : TRY(xattr_names(to))) {
        if (name.starts_with("security.") || (!keep.empty() && name.starts_with(keep))) continue;
        if (std::find(wanted.begin(), wanted.end(), name) != wanted.end()) continue;
        if (::lremovexattr(to.c_str(), name.c_str()) < 0)
            return fail_os(errno, cat("take extended attribute ", printable(name), " away"));
    }
    std::string value;
    for (const std::string& name : wanted) {
        const auto read = [&](char* data, std::size_t size) {
            return ::lgetxattr(from.c_str(), name.c_str(), data, size);
        };
        if (fill(value, read) < 0) return fail_os(errno, cat("read extended attribute ", printable(name)));
        if (::lsetxattr(to.c_str(), name.c_str(), value.data(), value.size(), 0) < 0)
            return fail_os(errno, cat("copy extended attribute ", printable(name)));
    }
    return {};
}

Result<> write_pages_back(int fd, std::uint64_t bytes, std::string_view name,
                          const std::function<Result<>(std::uint64_t bytes)>& step)
{
    constexpr unsigned kAll = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    for (std::uint64_t offset = 0; offset < bytes; offset += kWriteBackBytes) {
        if (::sync_file_range(fd, static_cast<off64_t>(offset), kWriteBackBytes, kAll) < 0)
            return fail_os(errno, cat("write ", name, " back"));
        TRY(step(0));
    }
    return {};
}

} // namespace coppice::os
