#include "coppice/os/executable.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/mount.h"

#include <array>
#include <cerrno>
#include <climits>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace coppice::os {

namespace {

constexpr int kAllSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

/// A read-only mount of the very file: no copy, so its pages are shared with every other process of the program.
Result<Fd> read_only_mount(const Fd& program)
{
    auto copy = TRY(clone_mount(program.get(), "", false));
    TRY(set_mount_attributes(copy.get(), mount_attr::kReadOnly, 0, false));
    return copy;
}

/// For those who may not mount: a copy in memory that can never be changed. Source: memfd_create(2), F_ADD_SEALS
Result<Fd> sealed_copy(const Fd& program)
{
    const auto file = TRY(open_at(kCwd, path_of(program.get()), O_RDONLY));
    struct stat status{};
    if (::fstat(file.get(), &status) < 0) return fail_os(errno, "stat the own program");
    Fd copy{::memfd_create("coppice", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    if (!copy.is_open()) return fail_os(errno, "create memory for the own program");
    for (off_t done = 0; done < status.st_size;) {
        const auto sent = ::sendfile(copy.get(), file.get(), nullptr, static_cast<std::size_t>(status.st_size - done));
        if (sent <= 0) return fail_os(sent < 0 ? errno : EIO, "copy the own program");
        done += sent;
    }
    if (::fcntl(copy.get(), F_ADD_SEALS, kAllSeals) < 0) return fail_os(errno, "seal the own program");
    return copy;
}

/// Returns only with an error.
Result<> execute_read_only(const Fd& program, char* const* argv, char* const* envp)
{
    auto safe = read_only_mount(program);
    if (!safe && safe.error().os_errno() == EPERM) safe = sealed_copy(program);
    if (!safe) return fail(std::move(safe).error());
    ::syscall(SYS_execveat, safe->get(), "", argv, envp, AT_EMPTY_PATH);
    return fail_os(errno, "execute the protected program");
}

bool is_sealed(const Fd& program)
{
    const auto file = open_at(kCwd, path_of(program.get()), O_RDONLY);
    const int seals = file ? ::fcntl(file->get(), F_GET_SEALS) : -1; // -1 also for every file on a disk
    return seals >= 0 && (seals & kAllSeals) == kAllSeals;
}

} // namespace

Result<> protect_own_executable(char* const* argv, char* const* envp)
{
    const auto own = TRY(open_at(kCwd, "/proc/self/exe", O_PATH));
    struct statvfs status{};
    if (::fstatvfs(own.get(), &status) < 0) return fail_os(errno, "statvfs /proc/self/exe");
    if ((status.f_flag & ST_RDONLY) || is_sealed(own)) return {};
    return with_context(execute_read_only(own, argv, envp), "protect the own program file");
}

Result<> execute_protected(const std::string& path, char* const* argv, char* const* envp)
{
    const auto program = TRY(open_at(kCwd, path, O_PATH));
    return with_context(execute_read_only(program, argv, envp), path);
}

Result<std::string> find_companion(const std::string& name)
{
    std::array<char, PATH_MAX> own{};
    const auto length = ::readlink("/proc/self/exe", own.data(), own.size() - 1);
    if (length < 0) return fail_os(errno, "find the own program");
    const std::string path{own.data(), static_cast<std::size_t>(length)};
    const std::string directory = path.substr(0, path.find_last_of('/'));
    for (const std::string& candidate : {cat(directory, '/', name), cat(directory, "/../libexec/coppice/", name)})
        if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    return fail(Error{ErrorKind::NotFound, cat("the program ", name, " is missing beside ", path)}.hint(
        "the installation is incomplete"));
}

} // namespace coppice::os
