#undef _FILE_OFFSET_BITS // each function under its own name
#include "faults.h"

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <dlfcn.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <string>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

namespace coppice::test::faults {

namespace {

std::atomic<bool> armed = false;
std::atomic<Kind> kind = Kind::Count;
std::atomic<std::uint64_t> target = 0, calls = 0, failed = 0;
std::atomic<bool> full_next = false;
std::atomic<bool> remembering = false;
std::mutex mutex;
std::map<ino_t, std::string> synced; // by inode

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

Fate next_call(bool writes)
{
    if (!armed) return Fate::Go;
    if (writes && full_next.exchange(false)) {
        errno = ENOSPC;
        return Fate::Fail;
    }
    if (++calls != target || kind == Kind::Count) return Fate::Go;
    ++failed;
    switch (kind.load()) {
    case Kind::Count: return Fate::Go;
    case Kind::Io: errno = EIO; return Fate::Fail;
    case Kind::Full: errno = ENOSPC; return Fate::Fail;
    case Kind::ShortWrite:
        errno = ENOSPC;
        if (!writes) return Fate::Fail;
        full_next = true;
        return Fate::Shorten;
    case Kind::Kill: ::_exit(kKilledStatus);
    }
    return Fate::Go;
}

template <typename Function> Function* library(const char* name)
{
    return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

ssize_t write_some(const char* name, int fd, const void* data, std::size_t size, off64_t offset)
{
    const Fate fate = next_call(true);
    if (fate == Fate::Fail) return -1;
    const std::size_t part = fate == Fate::Shorten && size > 1 ? size / 2 : size;
    return library<ssize_t(int, const void*, std::size_t, off64_t)>(name)(fd, data, part, offset);
}

} // namespace

void arm(Kind what, std::uint64_t nth)
{
    kind = what;
    target = nth;
    calls = 0;
    failed = 0;
    full_next = false;
    armed = true;
}

std::uint64_t disarm()
{
    armed = false;
    remembering = false; // of each file that is synced, which takes long
    return calls;
}

std::uint64_t injected() { return failed; }

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
    if (faults::next_call(false) != faults::Fate::Go) return -1;
    faults::remember(fd);
    return faults::armed ? 0 : faults::library<int(int)>("fsync")(fd);
}
int fdatasync(int fd)
{
    if (faults::next_call(false) != faults::Fate::Go) return -1;
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
    const auto fate = faults::next_call(true);
    if (fate == faults::Fate::Fail) return -1;
    return faults::library<ssize_t(int, const void*, size_t)>("write")(
        fd, data, fate == faults::Fate::Shorten && size > 1 ? size / 2 : size);
}
int renameat(int from_dir, const char* from, int to_dir, const char* to)
{
    if (faults::next_call(false) != faults::Fate::Go) return -1;
    return faults::library<int(int, const char*, int, const char*)>("renameat")(from_dir, from, to_dir, to);
}
int renameat2(int from_dir, const char* from, int to_dir, const char* to, unsigned flags)
{
    if (faults::next_call(false) != faults::Fate::Go) return -1;
    return faults::library<int(int, const char*, int, const char*, unsigned)>("renameat2")(from_dir, from, to_dir, to,
                                                                                           flags);
}
int unlinkat(int dir, const char* path, int flags)
{
    if (faults::next_call(false) != faults::Fate::Go) return -1;
    return faults::library<int(int, const char*, int)>("unlinkat")(dir, path, flags);
}
int mkdirat(int dir, const char* path, mode_t mode)
{
    if (faults::next_call(false) != faults::Fate::Go) return -1;
    return faults::library<int(int, const char*, mode_t)>("mkdirat")(dir, path, mode);
}
int syncfs(int fd) noexcept
{
    if (faults::next_call(false) != faults::Fate::Go) return -1;
    return faults::armed ? 0 : faults::library<int(int)>("syncfs")(fd);
}
int symlinkat(const char* target, int dir, const char* path) noexcept
{
    if (faults::next_call(false) != faults::Fate::Go) return -1;
    return faults::library<int(const char*, int, const char*)>("symlinkat")(target, dir, path);
}
int fsetxattr(int fd, const char* name, const void* value, size_t size, int flags) noexcept
{
    if (faults::next_call(false) != faults::Fate::Go) return -1;
    return faults::library<int(int, const char*, const void*, size_t, int)>("fsetxattr")(fd, name, value, size, flags);
}
int fallocate64(int fd, int mode, off64_t offset, off64_t bytes)
{
    if (faults::next_call(false) != faults::Fate::Go) return -1;
    return faults::library<int(int, int, off64_t, off64_t)>("fallocate64")(fd, mode, offset, bytes);
}
int ftruncate(int fd, off_t bytes)
{
    if (faults::next_call(false) != faults::Fate::Go) return -1;
    return faults::library<int(int, off_t)>("ftruncate")(fd, bytes);
}
int ftruncate64(int fd, off64_t bytes)
{
    if (faults::next_call(false) != faults::Fate::Go) return -1;
    return faults::library<int(int, off64_t)>("ftruncate64")(fd, bytes);
}
}
