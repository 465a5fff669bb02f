#include "process_setup.h"

#include "accounts.h"
#include "coppice/base/environment.h"
#include "coppice/base/text.h"
#include "coppice/os/event_loop.h"
#include "coppice/os/fd.h"
#include "coppice/os/file.h"
#include "coppice/os/process.h"
#include "coppice/os/user_namespace.h"

#include <cctype>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <grp.h>
#include <string_view>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace coppice::runtime {

namespace {

constexpr std::string_view kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

std::unexpected<Error> no_command(const std::string& name, int number)
{
    const bool is_directory = number == EISDIR;
    const bool there = number == EACCES || is_directory || number == ENOEXEC || number == EPERM;
    // In lower case as Go writes it: docker looks for "permission denied" (126) and "no such file or directory" (127).
    // For a directory the kernel says "permission denied", too.
    std::string why = std::strerror(is_directory ? EACCES : number);
    why.front() = static_cast<char>(std::tolower(static_cast<unsigned char>(why.front())));
    Error error{there ? ErrorKind::CommandNotExecutable : ErrorKind::CommandNotFound,
                cat("exec: \"", name, "\": ", why)};
    return fail(is_directory ? std::move(error).hint("it is a directory") : std::move(error));
}

/// 0 when `path` is a file that somebody may execute, else the errno that execve would give.
int why_not_executable(const std::string& path)
{
    struct stat status{};
    if (::stat(path.c_str(), &status) < 0) return errno;
    if (S_ISDIR(status.st_mode)) return EISDIR;
    return ::faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) < 0 ? errno : 0;
}

Result<std::string> find_command(const std::string& name, const std::vector<std::string>& env)
{
    if (name.find('/') != std::string::npos) {
        const int number = why_not_executable(name);
        return number == 0 ? Result<std::string>{name} : no_command(name, number);
    }
    int seen = 0;
    for (const auto directory : split(find_variable(env, "PATH").value_or(kDefaultPath), ':')) {
        if (directory.starts_with('/')) { // a relative entry would depend on the working directory
            std::string candidate = cat(directory, '/', name);
            const int number = why_not_executable(candidate);
            if (number == 0) return candidate;
            if (number == EACCES) seen = number;
        }
    }
    if (seen != 0) return no_command(name, seen);
    return fail(ErrorKind::CommandNotFound, cat("exec: \"", name, "\": executable file not found in $PATH"));
}

Result<> enter_directory(const std::string& path)
{
    if (::chdir(path.c_str()) < 0) {
        if (errno != ENOENT) return fail_os(errno, cat("enter the working directory ", path));
        const auto root = TRY(os::open_at(os::kCwd, "/", O_PATH | O_DIRECTORY));
        const auto made = TRY_DOING("working directory", os::make_in_root(root.get(), path, os::PathKind::Directory));
        if (::chdir(path.c_str()) < 0) return fail_os(errno, cat("enter the working directory ", path));
    }
    // A directory of the host that leaked in by a descriptor has no path here (CVE-2024-21626).
    std::string name(4096, '\0');
    if (::syscall(SYS_getcwd, name.data(), name.size()) < 0)
        return fail_os(errno, cat("enter the working directory ", path));
    if (name.front() != '/')
        return fail(ErrorKind::Denied, cat("the working directory ", path, " leads out of the container"));
    return {};
}

Result<> set_limits(const std::vector<Rlimit>& limits)
{
    for (const Rlimit& limit : limits) {
        const rlimit value{.rlim_cur = limit.soft, .rlim_max = limit.hard};
        if (::setrlimit(static_cast<__rlimit_resource>(limit.resource), &value) < 0) {
            const int number = errno;
            Error error =
                Error::os(number, cat("error setting rlimits: ", limit.name, ' ', limit.soft, ':', limit.hard));
            if (number == EPERM)
                error = std::move(error).hint("raising a hard limit needs CAP_SYS_RESOURCE on this machine");
            return fail(std::move(error));
        }
    }
    return {};
}

Result<> become_user(const User& user)
{
    if (::setgroups(user.additional_gids.size(), user.additional_gids.data()) < 0) {
        // A user namespace with only its maker's own group forbids the call: the maker's groups stay then.
        const int number = errno;
        const bool fixed = number == EPERM && user.additional_gids.empty() && os::are_groups_fixed();
        if (!fixed) return fail_os(number, "set the supplementary groups");
    }
    if (::setresgid(user.gid, user.gid, user.gid) < 0) return fail_os(errno, cat("become group ", user.gid));
    if (::setresuid(user.uid, user.uid, user.uid) < 0) {
        const int number = errno;
        Error error = Error::os(number, cat("become user ", user.uid));
        if (number == EINVAL) error = std::move(error).hint("this id is not mapped in the user namespace");
        return fail(std::move(error));
    }
    return {};
}

} // namespace

Result<> set_oom_score(const ProcessSpec& process, const std::string& pid, bool host_root)
{
    if (!process.oom_score_adj) return {};
    auto wrote = os::write_control(os::kCwd, cat("/proc/", pid, "/oom_score_adj"), cat(*process.oom_score_adj));
    // Clients ask for their own default without knowing whether they may.
    if (!wrote && !host_root && wrote.error().kind() == ErrorKind::Denied) return {};
    return with_context(std::move(wrote), "process.oomScoreAdj");
}

Result<PreparedProgram> prepare_program(const ProcessSpec& process)
{
    PreparedProgram program{
        .path = {}, .env = process.env, .user = process.user, .capabilities = process.capabilities, .labels = {}};
    const auto root = TRY(os::open_at(os::kCwd, "/", O_PATH | O_DIRECTORY));
    const Accounts accounts{root.get()};
    if (!process.user.lookup.empty()) {
        program.user = TRY(accounts.find_user(process.user.lookup));
        program.user.umask = process.user.umask;
        program.user.additional_gids.insert(program.user.additional_gids.end(), process.user.additional_gids.begin(),
                                            process.user.additional_gids.end());
        if (program.user.uid != 0) // an ordinary user has no rights but may gain them by set-uid programs, as always
            program.capabilities = {.bounding = process.capabilities.bounding};
    }
    if (!find_variable(program.env, "HOME")) program.env.push_back(cat("HOME=", accounts.home_of(program.user.uid)));
    TRY(enter_directory(process.cwd));
    program.path = TRY(find_command(process.args.front(), program.env));
    return program;
}

Result<> execute(const ProcessSpec& process, const PreparedProgram& program, const SeccompFilter& filter,
                 const Channel& peer, unsigned keep_fds, bool dies_with_parent)
{
    std::vector<char*> args;
    std::vector<char*> env;
    args.reserve(process.args.size() + 1);
    env.reserve(program.env.size() + 1);
    for (const std::string& arg : process.args)
        args.push_back(const_cast<char*>(arg.c_str()));
    args.push_back(nullptr);
    for (const std::string& entry : program.env)
        env.push_back(const_cast<char*>(entry.c_str()));
    env.push_back(nullptr);

    TRY(set_limits(process.rlimits));
    os::reset_signals();
    TRY(os::mark_cloexec_from(3 + keep_fds)); // whatever the caller had open: not for the container
    ::umask(program.user.umask.value_or(kDefaultUmask));
    TRY(program.labels.write()); // for the next execve, which is the program's
    // Without no_new_privs only CAP_SYS_ADMIN may install a filter, and that may be among what is dropped next. The
    // filter then sees our own last calls, too: they are few, and every filter that lets programs change users allows
    // them.
    if (!process.no_new_privileges) TRY(install_seccomp(filter, peer));
    TRY(os::limit_bounding_set(program.capabilities.bounding));
    if (::prctl(PR_SET_KEEPCAPS, 1) < 0) return fail_os(errno, "keep capabilities");
    TRY(become_user(program.user));
    TRY(os::set_capabilities(program.capabilities));
    if (dies_with_parent) TRY(os::die_with_parent(SIGKILL)); // after the last change of credentials, which clears it
    if (process.no_new_privileges) {
        if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return fail_os(errno, "set no_new_privs");
        TRY(install_seccomp(filter, peer));
    }
    ::execve(program.path.c_str(), args.data(), env.data());
    return no_command(process.args.front(), errno);
}

} // namespace coppice::runtime
