#include "coppice/os/copy_tree.h"

#include "coppice/base/text.h"
#include "coppice/os/copy_file.h"
#include "coppice/os/file.h"

#include <cerrno>
#include <sys/sendfile.h>

namespace coppice::os {

namespace {

constexpr int kMaxDepth = 256; // descriptors are held on the way down

Result<> send_content(const Fd& from, const Fd& to, const std::string& name)
{
    for (;;) {
        const auto copied = retry_eintr([&] { return ::sendfile(to.get(), from.get(), nullptr, 1U << 20); });
        if (copied == 0) return {};
        if (copied < 0) return fail_os(errno, cat("copy ", name));
    }
}

Result<> copy_directory(int from, int to, dev_t device, int depth);

Result<> copy_entry(int from, int to, const std::string& name, dev_t device, int depth)
{
    const auto status = TRY(find_status(from, name, false));
    if (!status || status->st_dev != device) return {}; // removed meanwhile, or another file system
    if (S_ISDIR(status->st_mode)) {
        const auto source = TRY(open_at(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
        TRY(make_directory(to, name, 0700));
        const auto copy = TRY(open_at(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
        TRY(copy_directory(source.get(), copy.get(), device, depth + 1));
    } else if (S_ISREG(status->st_mode)) {
        const auto source = TRY(open_at(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
        const auto copy = TRY(open_at(to, name, O_WRONLY | O_CREAT | O_EXCL, 0600));
        TRY(send_content(source, copy, name));
    } else if (S_ISLNK(status->st_mode)) {
        TRY(copy_link(from, to, name));
    } else if (::mknodat(to, name.c_str(), status->st_mode, status->st_rdev) < 0) {
        return fail_os(errno, cat("copy ", name));
    }
    return copy_properties(*status, to, name);
}

Result<> copy_directory(int from, int to, dev_t device, int depth)
{
    if (depth > kMaxDepth) return fail(ErrorKind::Invalid, cat("copy a tree: deeper than ", kMaxDepth, " directories"));
    for (const std::string& name : TRY(list_directory(from, ".")))
        TRY(copy_entry(from, to, name, device, depth));
    return {};
}

} // namespace

Result<> copy_tree(int from, int to)
{
    struct stat status{};
    if (::fstat(from, &status) < 0) return fail_os(errno, "stat a tree to copy");
    return copy_directory(from, to, status.st_dev, 0);
}

} // namespace coppice::os
