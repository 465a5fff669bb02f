#include "coppice/os/lock.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"

#include <cerrno>
#include <sys/file.h>

namespace coppice::os {

namespace {

/// The holder before us may have removed the file: then our lock is on one that nobody else will find.
Result<bool> still_named(const Fd& file, const std::string& path)
{
    struct stat status {};
    if (::fstat(file.get(), &status) < 0) return fail_os(errno, cat("stat ", path));
    return status.st_nlink > 0;
}

} // namespace

Result<FileLock> FileLock::take(int dir, const std::string& path)
{
    for (;;) {
        auto file = TRY(open_at(dir, path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
        if (retry_eintr([&] { return ::flock(file.get(), LOCK_EX); }) < 0) return fail_os(errno, cat("lock ", path));
        if (TRY(still_named(file, path))) return FileLock{std::move(file)};
    }
}

Result<std::optional<FileLock>> FileLock::try_take(int dir, const std::string& path)
{
    auto file = TRY(open_at(dir, path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
    if (retry_eintr([&] { return ::flock(file.get(), LOCK_EX | LOCK_NB); }) < 0) {
        if (errno == EWOULDBLOCK) return std::optional<FileLock>{};
        return fail_os(errno, cat("lock ", path));
    }
    if (!TRY(still_named(file, path))) return std::optional<FileLock>{}; // its last holder is just removing it
    return std::optional<FileLock>{FileLock{std::move(file)}};
}

Result<bool> FileLock::is_held(int dir, const std::string& path)
{
    const auto file = open_at(dir, path, O_RDWR | O_NOFOLLOW);
    if (!file) {
        if (file.error().kind() == ErrorKind::NotFound) return false;
        return fail(file.error());
    }
    // A shared lock held for a moment: it fails only against an exclusive one.
    if (retry_eintr([&] { return ::flock(file->get(), LOCK_SH | LOCK_NB); }) == 0) return false;
    if (errno == EWOULDBLOCK) return true;
    return fail_os(errno, cat("lock ", path));
}

} // namespace coppice::os
