#include "coppice/os/executable.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/mount.h"

#include <array>
#include <cerrno>
#include <climits>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace coppice::os {

namespace {

/// Returns only with an error.
Result<> execute_read_only(const Fd& program, char* const* argv, char* const* envp)
{
    const auto copy = TRY(clone_mount(program.get(), "", false));
    TRY(set_mount_attributes(copy.get(), mount_attr::kReadOnly, 0, false));
    ::syscall(SYS_execveat, copy.get(), "", argv, envp, AT_EMPTY_PATH);
    return fail_os(errno, "execute the protected program");
}

} // namespace

Result<> protect_own_executable(char* const* argv, char* const* envp)
{
    const auto own = TRY(open_at(kCwd, "/proc/self/exe", O_PATH));
    struct statvfs status{};
    if (::fstatvfs(own.get(), &status) < 0) return fail_os(errno, "statvfs /proc/self/exe");
    if (status.f_flag & ST_RDONLY) return {};
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
