#include "coppice/os/file.h"

#include "coppice/base/id.h"
#include "coppice/base/text.h"
#include "coppice/os/syscalls.h"

#include <cerrno>
#include <climits>
#include <cstdio>
#include <dirent.h>
#include <memory>
#include <unistd.h>

namespace coppice::os {

namespace {

Result<Fd> open_resolved(int dir, const std::string& path, std::uint64_t flags, mode_t mode, std::uint64_t resolve)
{
    const sys::OpenHow how{.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve};
    int fd = -1;
    int tries = 0;
    do // EAGAIN: a rename or mount elsewhere raced with ".."; the kernel asks us to try again
        fd = sys::openat2(dir, path.c_str(), how);
    while (fd < 0 && (errno == EINTR || (errno == EAGAIN && ++tries < 1000)));
    if (fd < 0) return fail_os(errno, cat("open ", path));
    return Fd{fd};
}

std::vector<std::string> split_path(std::string_view path)
{
    std::vector<std::string> parts;
    while (!path.empty()) {
        const auto part = next_part(path, '/');
        if (!part.empty() && part != ".") parts.emplace_back(part);
    }
    return parts;
}

Result<Fd> create_component(const Fd& parent, const std::string& name, PathKind kind, const std::string& whole)
{
    if (name == "..")
        return fail(ErrorKind::Invalid, cat("the path ", whole, " goes up behind a directory that does not exist"));
    if (kind == PathKind::Directory) {
        if (::mkdirat(parent.get(), name.c_str(), 0755) < 0 && errno != EEXIST)
            return fail_os(errno, cat("create directory ", whole));
    } else {
        const Fd created{
            ::openat(parent.get(), name.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0644)};
        if (!created.is_open() && errno != EEXIST) return fail_os(errno, cat("create ", whole));
    }
    // A link that was put in its place meanwhile is not followed: as a directory it is refused by the next step, as a
    // file it is what gets covered, inside the root.
    return open_resolved(parent.get(), name, O_PATH | O_NOFOLLOW, 0, sys::kResolveBeneath | sys::kResolveNoSymlinks);
}

Result<> check_kind(const Fd& found, PathKind kind, const std::string& path)
{
    struct stat status{};
    if (::fstat(found.get(), &status) < 0) return fail_os(errno, cat("stat ", path));
    if (S_ISDIR(status.st_mode) == (kind == PathKind::Directory)) return {};
    return fail(ErrorKind::Conflict,
                cat(path, kind == PathKind::Directory ? " is not a directory" : " is a directory"));
}

} // namespace

Result<Fd> open_at(int dir, const std::string& path, int flags, mode_t mode)
{
    const int fd = retry_eintr([&] { return ::openat(dir, path.c_str(), flags | O_CLOEXEC, mode); });
    if (fd < 0) return fail_os(errno, cat("open ", path));
    return Fd{fd};
}

Result<Fd> open_in_root(int root, const std::string& path, int flags, mode_t mode, bool follow_links)
{
    const std::uint64_t resolve =
        sys::kResolveInRoot | sys::kResolveNoMagiclinks | (follow_links ? 0 : sys::kResolveNoSymlinks);
    return open_resolved(root, path.empty() ? "." : path, static_cast<unsigned>(flags), mode, resolve);
}

Result<Fd> open_beneath(int dir, const std::string& path, int flags, mode_t mode)
{
    return open_resolved(dir, path, static_cast<unsigned>(flags), mode,
                         sys::kResolveBeneath | sys::kResolveNoSymlinks | sys::kResolveNoMagiclinks);
}

Result<Fd> open_on_mount(int dir, const std::string& path, int flags)
{
    return open_resolved(dir, path, static_cast<unsigned>(flags), 0,
                         sys::kResolveBeneath | sys::kResolveNoXdev | sys::kResolveNoMagiclinks);
}

Result<Fd> make_in_root(int root, const std::string& path, PathKind kind, bool follow_links)
{
    const auto whole = open_in_root(root, path, O_PATH, 0, follow_links);
    if (whole) {
        TRY(check_kind(*whole, kind, path));
        return Result<Fd>{whole->duplicate()};
    }
    if (whole.error().os_errno() != ENOENT) return fail(whole.error());

    const auto parts = split_path(path);
    // The longest prefix that exists is resolved by the kernel as a whole (links may lead anywhere inside the root);
    // what is behind it is created one component at a time, where a link can only be an attack.
    std::size_t existing = parts.size();
    Fd current;
    for (; existing > 0; --existing) {
        std::string prefix;
        for (std::size_t i = 0; i + 1 < existing; ++i)
            prefix += cat(parts[i], '/');
        auto opened = open_in_root(root, prefix.empty() ? "." : prefix, O_PATH | O_DIRECTORY, 0, follow_links);
        if (opened) {
            current = *std::move(opened);
            break;
        }
        if (opened.error().os_errno() != ENOENT) return fail(std::move(opened).error());
    }
    if (!current.is_open()) return fail(ErrorKind::Invalid, cat("the path '", path, "' names nothing"));
    for (std::size_t i = existing - 1; i < parts.size(); ++i) {
        const bool last = i + 1 == parts.size();
        current = TRY(create_component(current, parts[i], last ? kind : PathKind::Directory, path));
    }
    TRY(check_kind(current, kind, path));
    return current;
}

Result<std::string> read_all(const Fd& file, std::size_t most, std::string_view name)
{
    std::string content;
    std::size_t used = 0;
    struct stat status{};
    const bool sized = ::fstat(file.get(), &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0;
    content.resize(sized ? static_cast<std::size_t>(status.st_size) + 1 : 4096); // + 1 so that the end is seen
    for (;;) {
        if (used == content.size()) content.resize(content.size() * 2);
        const auto got = retry_eintr([&] { return ::read(file.get(), content.data() + used, content.size() - used); });
        if (got < 0) return fail_os(errno, cat("read ", name));
        if (got == 0) break;
        used += static_cast<std::size_t>(got);
        if (used > most) return fail(ErrorKind::Invalid, cat(name, " is larger than ", most, " bytes"));
    }
    content.resize(used);
    return content;
}

Result<std::string> read_file(int dir, const std::string& path, std::size_t most)
{
    const auto file = TRY(open_at(dir, path, O_RDONLY));
    return read_all(file, most, path);
}

Result<> write_all(int fd, std::string_view data, std::string_view name)
{
    while (!data.empty()) {
        const auto wrote = retry_eintr([&] { return ::write(fd, data.data(), data.size()); });
        if (wrote < 0) return fail_os(errno, cat("write ", name));
        data.remove_prefix(static_cast<std::size_t>(wrote));
    }
    return {};
}

Result<> write_control(int dir, const std::string& path, std::string_view data)
{
    const auto file = TRY(open_at(dir, path, O_WRONLY));
    const auto wrote = retry_eintr([&] { return ::write(file.get(), data.data(), data.size()); });
    if (wrote < 0) return fail_os(errno, cat("write '", data, "' to ", path));
    return {};
}

namespace {

using Renaming = bool (*)(int dir, const char* temporary, const char* path); ///< false: see errno

Result<> write_beside(int dir, const std::string& path, std::string_view data, mode_t mode, bool durable,
                      Renaming rename)
{
    const std::string temporary = cat(path, ".new-", random_hex(8));
    const auto undo = [&](Error error) {
        ::unlinkat(dir, temporary.c_str(), 0);
        return fail(std::move(error));
    };
    {
        const auto file = TRY(open_at(dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode));
        if (::fchmod(file.get(), mode) < 0) return undo(Error::os(errno, cat("set the mode of ", path))); // umask
        if (auto wrote = write_all(file.get(), data, path); !wrote) return undo(std::move(wrote).error());
        if (durable && ::fdatasync(file.get()) < 0) return undo(Error::os(errno, cat("sync ", path)));
    }
    if (!rename(dir, temporary.c_str(), path.c_str())) return undo(Error::os(errno, cat("write ", path)));
    return {};
}

bool rename_over(int dir, const char* temporary, const char* path)
{
    return ::renameat(dir, temporary, dir, path) == 0;
}

bool exchange(int dir, const char* temporary, const char* path)
{
    if (::renameat2(dir, temporary, dir, path, RENAME_EXCHANGE) == 0) {
        ::unlinkat(dir, temporary, 0); // the new text is in place, whatever becomes of the old
        return true;
    }
    // Nothing there yet, or a file system or kernel that cannot exchange.
    if (errno == ENOENT || errno == EINVAL || errno == ENOSYS) return rename_over(dir, temporary, path);
    return false;
}

} // namespace

Result<> replace_file(int dir, const std::string& path, std::string_view data, mode_t mode, bool durable)
{
    return write_beside(dir, path, data, mode, durable, rename_over);
}

Result<> replace_passing_file(int dir, const std::string& path, std::string_view data, mode_t mode)
{
    return write_beside(dir, path, data, mode, false, exchange);
}

namespace {

/// 0, or -1 with errno.
int make_one(int dir, const std::string& path, mode_t mode)
{
    if (::mkdirat(dir, path.c_str(), mode) < 0) return -1;
    constexpr mode_t kOthers = 077; // what umasks take away
    return (mode & kOthers) == 0 ? 0 : ::fchmodat(dir, path.c_str(), mode, 0);
}

} // namespace

Result<> make_directory(int dir, const std::string& path, mode_t mode)
{
    if (make_one(dir, path, mode) < 0) return fail_os(errno, cat("create directory ", path));
    return {};
}

Result<> make_directories(const std::string& path, mode_t mode)
{
    if (make_one(kCwd, path, mode) == 0) return {};
    if (errno == ENOENT) {
        const auto slash = path.find_last_of('/');
        if (slash != std::string::npos && slash > 0) {
            TRY(make_directories(path.substr(0, slash), mode));
            if (make_one(kCwd, path, mode) == 0) return {};
        }
    }
    const int number = errno;
    struct stat status{};
    if (number == EEXIST && ::stat(path.c_str(), &status) == 0) {
        if (S_ISDIR(status.st_mode)) return {};
        return fail(ErrorKind::Conflict, cat(path, " exists and is not a directory"));
    }
    return fail_os(number, cat("create directory ", path));
}

Result<> remove_file(int dir, const std::string& path)
{
    if (::unlinkat(dir, path.c_str(), 0) < 0 && errno != ENOENT) return fail_os(errno, cat("remove ", path));
    return {};
}

namespace {

/// @param wanted gets each entry's name and d_type
template <typename Wanted>
Result<std::vector<std::string>> list_entries(int dir, const std::string& path, Wanted wanted)
{
    auto fd = TRY(open_at(dir, path, O_RDONLY | O_DIRECTORY));
    const std::unique_ptr<DIR, int (*)(DIR*)> stream{::fdopendir(fd.get()), &::closedir};
    if (!stream) return fail_os(errno, cat("list ", path));
    (void)fd.release(); // closedir closes it
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* const entry = ::readdir(stream.get())) {
        const std::string_view name{entry->d_name};
        if (name != "." && name != ".." && wanted(name, entry->d_type)) names.emplace_back(name);
        errno = 0;
    }
    if (errno != 0) return fail_os(errno, cat("list ", path));
    return names;
}

} // namespace

Result<std::vector<std::string>> list_directory(int dir, const std::string& path)
{
    return list_entries(dir, path, [](std::string_view, unsigned char) { return true; });
}

Result<std::vector<std::string>> list_subdirectories(int dir, const std::string& path)
{
    return list_entries(dir, path, [&](std::string_view name, unsigned char type) {
        if (type != DT_UNKNOWN) return type == DT_DIR;
        const auto status = find_status(dir, cat(path, '/', name), false);
        return status && *status && S_ISDIR((*status)->st_mode);
    });
}

Result<std::optional<struct stat>> find_status(int dir, const std::string& path, bool follow_links)
{
    struct stat status{};
    if (::fstatat(dir, path.c_str(), &status, follow_links ? 0 : AT_SYMLINK_NOFOLLOW) == 0)
        return std::optional<struct stat>{status};
    if (errno == ENOENT || errno == ENOTDIR) return std::optional<struct stat>{};
    return fail_os(errno, cat("stat ", path));
}

bool exists(int dir, const std::string& path) { return ::faccessat(dir, path.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0; }

Result<bool> is_there(int dir, const std::string& path) { return TRY(find_status(dir, path, false)).has_value(); }

std::string path_of(int fd) { return cat("/proc/self/fd/", fd); }

} // namespace coppice::os
