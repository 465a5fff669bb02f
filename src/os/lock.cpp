#include "coppice/os/lock.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

namespace coppice::os {

namespace {

/// The holder before us may have removed the file: then our lock is on one that nobody else will find.
Result<bool> still_named(const Fd& file, const std::string& path)
{
    struct stat status{};
    if (::fstat(file.get(), &status) < 0) return fail_os(errno, cat("stat ", path));
    return status.st_nlink > 0;
}

Result<Fd> open_lock(int dir, const std::string& path)
{
    return open_at(dir, path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
}

struct flock whole_file()
{
    struct flock lock{};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    return lock;
}

} // namespace

Result<FileLock> FileLock::take(int dir, const std::string& path)
{
    for (;;) {
        auto file = TRY(open_lock(dir, path));
        struct flock whole = whole_file();
        if (retry_eintr([&] { return ::fcntl(file.get(), F_OFD_SETLKW, &whole); }) < 0)
            return fail_os(errno, cat("lock ", path));
        if (TRY(still_named(file, path))) return FileLock{std::move(file)};
    }
}

Result<std::optional<FileLock>> FileLock::try_take(int dir, const std::string& path)
{
    auto file = TRY(open_lock(dir, path));
    struct flock whole = whole_file();
    if (retry_eintr([&] { return ::fcntl(file.get(), F_OFD_SETLK, &whole); }) < 0) {
        if (errno == EAGAIN || errno == EACCES) return std::optional<FileLock>{};
        return fail_os(errno, cat("lock ", path));
    }
    if (!TRY(still_named(file, path))) return std::optional<FileLock>{}; // its last holder is just removing it
    return std::optional<FileLock>{FileLock{std::move(file)}};
}

Result<std::optional<FileLock>> FileLock::try_take_byte(const std::string& path, std::uint64_t offset)
{
    auto file = TRY(open_lock(kCwd, path));
    struct flock byte = whole_file();
    byte.l_start = static_cast<off_t>(offset);
    byte.l_len = 1;
    if (retry_eintr([&] { return ::fcntl(file.get(), F_OFD_SETLK, &byte); }) == 0)
        return std::optional<FileLock>{FileLock{std::move(file)}};
    if (errno == EAGAIN || errno == EACCES) return std::optional<FileLock>{};
    return fail_os(errno, cat("lock ", path));
}

Result<bool> FileLock::is_held(int dir, const std::string& path)
{
    const auto file = open_at(dir, path, O_RDWR | O_NOFOLLOW);
    if (!file) {
        if (file.error().kind() == ErrorKind::NotFound) return false;
        return fail(file.error());
    }
    struct flock whole = whole_file();
    if (::fcntl(file->get(), F_OFD_GETLK, &whole) < 0) return fail_os(errno, cat("ask for the lock of ", path));
    return whole.l_type != F_UNLCK;
}

} // namespace coppice::os
