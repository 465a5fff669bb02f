#include "coppice/base/text.h"
#include "coppice/os/file.h"

#include <cerrno>
#include <dirent.h>
#include <memory>
#include <unistd.h>

namespace coppice::os {

namespace {

Result<> remove_directory(int dir, const std::string& name, dev_t device, const std::string& shown);

Result<> empty_directory(Fd directory, dev_t device, const std::string& shown)
{
    const std::unique_ptr<DIR, int (*)(DIR*)> stream{::fdopendir(directory.get()), &::closedir};
    if (!stream) return fail_os(errno, cat("list ", shown));
    const int fd = directory.release();
    while (const dirent* const entry = ::readdir(stream.get())) {
        const std::string name{entry->d_name};
        if (name == "." || name == "..") continue;
        if (entry->d_type != DT_DIR) {
            if (::unlinkat(fd, name.c_str(), 0) == 0 || errno == ENOENT) continue;
            if (errno != EISDIR && errno != EPERM) return fail_os(errno, cat("remove ", shown, '/', name));
        }
        TRY(remove_directory(fd, name, device, cat(shown, '/', name)));
    }
    return {};
}

Result<> remove_directory(int dir, const std::string& name, dev_t device, const std::string& shown)
{
    if (::unlinkat(dir, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return {};
    if (errno != ENOTEMPTY && errno != EEXIST) return fail_os(errno, cat("remove ", shown));
    auto opened = TRY(open_at(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    struct stat status{};
    if (::fstat(opened.get(), &status) < 0) return fail_os(errno, cat("stat ", shown));
    if (status.st_dev != device)
        return fail(Error{ErrorKind::Conflict, cat("remove ", shown, ": another file system is mounted there")}.hint(
            "unmount it first"));
    TRY(empty_directory(std::move(opened), device, shown));
    if (::unlinkat(dir, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return {};
    return fail_os(errno, cat("remove ", shown));
}

} // namespace

Result<> remove_tree(int dir, const std::string& path)
{
    const auto status = TRY(find_status(dir, path, false));
    if (!status) return {};
    if (!S_ISDIR(status->st_mode)) return remove_file(dir, path);
    return remove_directory(dir, path, status->st_dev, path);
}

} // namespace coppice::os
