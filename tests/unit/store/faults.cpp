#undef _FILE_OFFSET_BITS // each function under its own name
#include "faults.h"

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdarg>
#include <cstddef>
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

namespace coppice::test::faults {

namespace {

std::atomic<bool> armed = false;
std::atomic<Kind> kind = Kind::Count;
std::atomic<std::uint64_t> target = 0, calls = 0, reads = 0, failed = 0;
std::atomic<const char*> wanted = nullptr; // only calls of this name count
std::atomic<bool> full_next = false;
std::atomic<bool> remembering = false;
std::mutex mutex;
std::map<ino_t, std::string> synced; // by inode
std::string failed_name;

template <typename Function> Function* library(const char* name)
{
    return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

std::string path_of(int fd)
{
    std::string path(PATH_MAX, '\0');
    const auto size = ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), path.data(), path.size());
    path.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
    return path;
}

void remember(int fd)
{
    struct stat status{};
    if (!remembering || ::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) return;
    std::ifstream file{"/proc/self/fd/" + std::to_string(fd),
                       std::ios::binary}; // the descriptor may be for writing only
    const std::lock_guard lock{mutex};
    synced[status.st_ino] = {std::istreambuf_iterator<char>{file}, {}};
}

enum class Fate : unsigned char { Go, Fail, Shorten };
enum class Call : unsigned char { Change, Write, Read };

/// @param fd of the file, to name it; -1: none
Fate next_call(Call call, const char* name, int fd = -1)
{
    if (!armed) return Fate::Go;
    const int before = errno;
    if (call == Call::Write && full_next.exchange(false)) {
        errno = ENOSPC;
        return Fate::Fail;
    }
    const bool is_read = call == Call::Read;
    if (const char* const only = wanted; only != nullptr && std::string_view{only} != name) return Fate::Go;
    const std::uint64_t number = is_read ? ++reads : ++calls;
    if (kind == Kind::Count || number != target || is_read != (kind == Kind::Read)) return Fate::Go;
    ++failed;
    {
        const Pause pause;
        const std::lock_guard lock{mutex};
        failed_name = name;
        if (fd >= 0) failed_name += ' ' + path_of(fd);
    }
    errno = before;
    switch (kind.load()) {
    case Kind::Count: return Fate::Go;
    case Kind::Read:
    case Kind::Io: errno = EIO; return Fate::Fail;
    case Kind::Full: errno = ENOSPC; return Fate::Fail;
    case Kind::ShortWrite:
        errno = ENOSPC;
        if (call != Call::Write) return Fate::Fail;
        full_next = true;
        return Fate::Shorten;
    case Kind::Kill: ::_exit(kKilledStatus);
    }
    return Fate::Go;
}
bool fails(Call call, const char* name, int fd = -1) { return next_call(call, name, fd) != Fate::Go; }

ssize_t write_some(const char* name, int fd, const void* data, std::size_t size, off64_t offset)
{
    const Fate fate = next_call(Call::Write, name, fd);
    if (fate == Fate::Fail) return -1;
    const std::size_t part = fate == Fate::Shorten && size > 1 ? size / 2 : size;
    return library<ssize_t(int, const void*, std::size_t, off64_t)>(name)(fd, data, part, offset);
}

} // namespace

void arm(Kind what, std::uint64_t nth, const char* only)
{
    kind = what;
    target = nth;
    wanted = only;
    calls = 0;
    reads = 0;
    failed = 0;
    full_next = false;
    failed_name.clear();
    armed = true;
}

std::uint64_t disarm()
{
    armed = false;
    remembering = false; // of each file that is synced, which takes long
    return kind == Kind::Read ? reads : calls;
}

std::uint64_t injected() { return failed; }
std::uint64_t reading_calls() { return reads; }
std::string failed_call() { return failed_name; }
bool is_sync(std::string_view call)
{
    return call.starts_with("fsync ") || call.starts_with("fdatasync ") || call.starts_with("syncfs ");
}

Pause::Pause() : was_{armed.exchange(false)} {}
Pause::~Pause() { armed = was_; }

void remember_syncs()
{
    const std::lock_guard lock{mutex};
    synced.clear();
    remembering = true;
}

void power_cut(const std::string& from, const std::string& to)
{
    namespace fs = std::filesystem;
    const std::lock_guard lock{mutex};
    fs::create_directories(to);
    for (const auto& entry : fs::recursive_directory_iterator{from}) {
        const fs::path target = fs::path{to} / fs::relative(entry.path(), from);
        if (entry.is_directory()) {
            fs::create_directories(target);
            continue;
        }
        struct stat status{};
        if (entry.path().string().ends_with("-shm") || ::stat(entry.path().c_str(), &status) != 0) continue;
        const auto found = synced.find(status.st_ino);
        std::ofstream{target, std::ios::binary} << (found == synced.end() ? std::string{} : found->second);
        fs::permissions(target, static_cast<fs::perms>(status.st_mode & 07777));
    }
}

} // namespace coppice::test::faults

namespace faults = coppice::test::faults;

extern "C" {

int fsync(int fd)
{
    if (faults::fails(faults::Call::Change, "fsync", fd)) return -1;
    faults::remember(fd);
    return faults::armed ? 0 : faults::library<int(int)>("fsync")(fd);
}
int fdatasync(int fd)
{
    if (faults::fails(faults::Call::Change, "fdatasync", fd)) return -1;
    faults::remember(fd);
    return faults::armed ? 0 : faults::library<int(int)>("fdatasync")(fd);
}
ssize_t pwrite(int fd, const void* data, size_t size, off_t offset)
{
    return faults::write_some("pwrite", fd, data, size, offset);
}
ssize_t pwrite64(int fd, const void* data, size_t size, off64_t offset)
{
    return faults::write_some("pwrite64", fd, data, size, offset);
}
ssize_t write(int fd, const void* data, size_t size)
{
    const auto fate = faults::next_call(faults::Call::Write, "write", fd);
    if (fate == faults::Fate::Fail) return -1;
    return faults::library<ssize_t(int, const void*, size_t)>("write")(
        fd, data, fate == faults::Fate::Shorten && size > 1 ? size / 2 : size);
}
int renameat(int from_dir, const char* from, int to_dir, const char* to)
{
    if (faults::fails(faults::Call::Change, "renameat")) return -1;
    return faults::library<int(int, const char*, int, const char*)>("renameat")(from_dir, from, to_dir, to);
}
int renameat2(int from_dir, const char* from, int to_dir, const char* to, unsigned flags)
{
    if (faults::fails(faults::Call::Change, "renameat2")) return -1;
    return faults::library<int(int, const char*, int, const char*, unsigned)>("renameat2")(from_dir, from, to_dir, to,
                                                                                           flags);
}
int unlinkat(int dir, const char* path, int flags)
{
    if (faults::fails(faults::Call::Change, "unlinkat")) return -1;
    return faults::library<int(int, const char*, int)>("unlinkat")(dir, path, flags);
}
int mkdirat(int dir, const char* path, mode_t mode)
{
    if (faults::fails(faults::Call::Change, "mkdirat")) return -1;
    return faults::library<int(int, const char*, mode_t)>("mkdirat")(dir, path, mode);
}
int syncfs(int fd) noexcept
{
    if (faults::fails(faults::Call::Change, "syncfs", fd)) return -1;
    return faults::armed ? 0 : faults::library<int(int)>("syncfs")(fd);
}
int symlinkat(const char* target, int dir, const char* path) noexcept
{
    if (faults::fails(faults::Call::Change, "symlinkat")) return -1;
    return faults::library<int(const char*, int, const char*)>("symlinkat")(target, dir, path);
}
int fsetxattr(int fd, const char* name, const void* value, size_t size, int flags) noexcept
{
    if (faults::fails(faults::Call::Change, "fsetxattr", fd)) return -1;
    return faults::library<int(int, const char*, const void*, size_t, int)>("fsetxattr")(fd, name, value, size, flags);
}
int linkat(int from_dir, const char* from, int to_dir, const char* to, int flags) noexcept
{
    if (faults::fails(faults::Call::Change, "linkat")) return -1;
    return faults::library<int(int, const char*, int, const char*, int)>("linkat")(from_dir, from, to_dir, to, flags);
}
int mknodat(int dir, const char* path, mode_t mode, dev_t device) noexcept
{
    if (faults::fails(faults::Call::Change, "mknodat")) return -1;
    return faults::library<int(int, const char*, mode_t, dev_t)>("mknodat")(dir, path, mode, device);
}
ssize_t copy_file_range(int from, off64_t* in, int to, off64_t* out, size_t bytes, unsigned flags)
{
    if (faults::fails(faults::Call::Change, "copy_file_range", to)) return -1;
    return faults::library<ssize_t(int, off64_t*, int, off64_t*, size_t, unsigned)>("copy_file_range")(
        from, in, to, out, bytes, flags);
}
int lsetxattr(const char* path, const char* name, const void* value, size_t size, int flags) noexcept
{
    if (faults::fails(faults::Call::Change, "lsetxattr")) return -1;
    return faults::library<int(const char*, const char*, const void*, size_t, int)>("lsetxattr")(path, name, value,
                                                                                                 size, flags);
}
int fallocate64(int fd, int mode, off64_t offset, off64_t bytes)
{
    if (faults::fails(faults::Call::Change, "fallocate64", fd)) return -1;
    return faults::library<int(int, int, off64_t, off64_t)>("fallocate64")(fd, mode, offset, bytes);
}
int ftruncate(int fd, off_t bytes)
{
    if (faults::fails(faults::Call::Change, "ftruncate", fd)) return -1;
    return faults::library<int(int, off_t)>("ftruncate")(fd, bytes);
}
int ftruncate64(int fd, off64_t bytes)
{
    if (faults::fails(faults::Call::Change, "ftruncate64", fd)) return -1;
    return faults::library<int(int, off64_t)>("ftruncate64")(fd, bytes);
}
// --- what reads

int open64(const char* path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if (faults::fails(faults::Call::Read, "open64")) return -1;
    return faults::library<int(const char*, int, mode_t)>("open64")(path, flags, mode);
}
int openat64(int dir, const char* path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if (faults::fails(faults::Call::Read, "openat64")) return -1;
    return faults::library<int(int, const char*, int, mode_t)>("openat64")(dir, path, flags, mode);
}
ssize_t read(int fd, void* data, size_t size)
{
    if (faults::fails(faults::Call::Read, "read", fd)) return -1;
    return faults::library<ssize_t(int, void*, size_t)>("read")(fd, data, size);
}
ssize_t pread64(int fd, void* data, size_t size, off64_t offset)
{
    if (faults::fails(faults::Call::Read, "pread64", fd)) return -1;
    return faults::library<ssize_t(int, void*, size_t, off64_t)>("pread64")(fd, data, size, offset);
}
int fstat64(int fd, struct stat64* status) noexcept
{
    if (faults::fails(faults::Call::Read, "fstat64", fd)) return -1;
    return faults::library<int(int, struct stat64*)>("fstat64")(fd, status);
}
int fstatat64(int dir, const char* path, struct stat64* status, int flags) noexcept
{
    if (faults::fails(faults::Call::Read, "fstatat64")) return -1;
    return faults::library<int(int, const char*, struct stat64*, int)>("fstatat64")(dir, path, status, flags);
}
ssize_t readlinkat(int dir, const char* path, char* target, size_t size) noexcept
{
    if (faults::fails(faults::Call::Read, "readlinkat")) return -1;
    return faults::library<ssize_t(int, const char*, char*, size_t)>("readlinkat")(dir, path, target, size);
}
int faccessat(int dir, const char* path, int mode, int flags) noexcept
{
    if (faults::fails(faults::Call::Read, "faccessat")) return -1;
    return faults::library<int(int, const char*, int, int)>("faccessat")(dir, path, mode, flags);
}
struct dirent64* readdir64(DIR* directory)
{
    if (faults::fails(faults::Call::Read, "readdir64")) return nullptr;
    return faults::library<struct dirent64*(DIR*)>("readdir64")(directory);
}
ssize_t fgetxattr(int fd, const char* name, void* value, size_t size) noexcept
{
    if (faults::fails(faults::Call::Read, "fgetxattr", fd)) return -1;
    return faults::library<ssize_t(int, const char*, void*, size_t)>("fgetxattr")(fd, name, value, size);
}
}
