#include "coppice/os/process.h"

#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "coppice/os/file.h"
#include "coppice/os/syscalls.h"

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>

namespace coppice::os {

ExitStatus decode_wait_status(int status)
{
    if (WIFSIGNALED(status)) return {.code = 128 + WTERMSIG(status), .by_signal = true};
    return {.code = WEXITSTATUS(status), .by_signal = false};
}

Process::Process(Process&& other) noexcept : pid_{std::exchange(other.pid_, -1)}, pidfd_{std::move(other.pidfd_)} {}

Process& Process::operator=(Process&& other) noexcept
{
    if (this != &other) {
        kill_and_reap();
        pid_ = std::exchange(other.pid_, -1);
        pidfd_ = std::move(other.pidfd_);
    }
    return *this;
}

Process::~Process() { kill_and_reap(); }

void Process::kill_and_reap()
{
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    int status = 0;
    retry_eintr([&] { return ::waitpid(pid_, &status, 0); });
    pid_ = -1;
}

Result<ExitStatus> Process::wait()
{
    int status = 0;
    if (retry_eintr([&] { return ::waitpid(pid_, &status, 0); }) < 0)
        return fail_os(errno, cat("wait for process ", pid_));
    pid_ = -1;
    return decode_wait_status(status);
}

Result<std::optional<ExitStatus>> Process::poll()
{
    int status = 0;
    const pid_t got = retry_eintr([&] { return ::waitpid(pid_, &status, WNOHANG); });
    if (got < 0) return fail_os(errno, cat("wait for process ", pid_));
    if (got == 0) return std::optional<ExitStatus>{};
    pid_ = -1;
    return std::optional<ExitStatus>{decode_wait_status(status)};
}

Result<> Process::send(int signal) const
{
    if (::kill(pid_, signal) < 0) return fail_os(errno, cat("send signal ", signal, " to process ", pid_));
    return {};
}

pid_t Process::detach() { return std::exchange(pid_, -1); }

Result<ForkResult> clone_process(const CloneOptions& options)
{
    int pidfd = -1;
    sys::CloneArgs args{.flags = options.flags | sys::kClonePidfd,
                        .pidfd = reinterpret_cast<std::uint64_t>(&pidfd),
                        .exit_signal = static_cast<std::uint64_t>(options.exit_signal)};
    if (options.flags & sys::kCloneParent) args.exit_signal = 0; // inherited from the calling process
    if (options.cgroup >= 0) {
        args.flags |= sys::kCloneIntoCgroup;
        args.cgroup = static_cast<std::uint64_t>(options.cgroup);
    }
    const long pid = sys::clone3(args);
    if (pid < 0) {
        const int number = errno;
        Error error = Error::os(number, "create a process");
        if (number == EAGAIN) error = std::move(error).hint("the limit of processes is reached");
        if (number == EPERM)
            error = std::move(error).hint("new namespaces need root, and inside a chroot there are no user namespaces");
        if (number == ENOSPC) error = std::move(error).hint("the limit of namespaces is reached: /proc/sys/user");
        return fail(std::move(error));
    }
    return ForkResult{static_cast<pid_t>(pid), Fd{pid == 0 ? -1 : pidfd}};
}

Result<std::optional<Fd>> open_process(pid_t pid)
{
    if (pid <= 0) return std::optional<Fd>{};
    Fd pidfd{sys::pidfd_open(pid)};
    if (pidfd.is_open()) return std::optional{std::move(pidfd)};
    // Numbers of threads, groups and sessions: EINVAL; since Linux 6.15 ENOENT for a thread's, ESRCH for the others.
    if (errno == ESRCH || errno == EINVAL || errno == ENOENT) return std::optional<Fd>{};
    return fail_os(errno, cat("open process ", pid));
}

Result<std::optional<ProcessRef>> ProcessRef::find(pid_t pid, std::uint64_t start_time)
{
    auto pidfd = TRY(open_process(pid));
    if (!pidfd) return std::optional<ProcessRef>{};
    // The pidfd pins the process; only now is the start time of this number known to be this process's.
    const auto started = TRY(process_start_time(pid));
    if (!started || *started != start_time) return std::optional<ProcessRef>{};
    return std::optional<ProcessRef>{ProcessRef{pid, *std::move(pidfd)}};
}

Result<> ProcessRef::send(int signal) const
{
    if (sys::pidfd_send_signal(pidfd_.get(), signal) < 0)
        return fail_os(errno, cat("send signal ", signal, " to process ", pid_));
    return {};
}

Result<bool> ProcessRef::wait_gone(int milliseconds) const
{
    pollfd waiting{.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
    const int ready = retry_eintr([&] { return ::poll(&waiting, 1, milliseconds); });
    if (ready < 0) return fail_os(errno, "poll a process");
    return ready > 0;
}

Result<std::optional<std::uint64_t>> process_start_time(pid_t pid)
{
    const auto stat = read_file(kCwd, cat("/proc/", pid, "/stat"), 4096);
    if (!stat) {
        const int number = stat.error().os_errno();
        if (number == ENOENT || number == ESRCH) return std::optional<std::uint64_t>{};
        return fail(stat.error());
    }
    // The command name may hold spaces and parentheses; the fields go on behind its last parenthesis with field 3.
    std::string_view rest{*stat};
    const auto close = rest.rfind(") ");
    if (close == std::string_view::npos) return fail(ErrorKind::Corrupt, cat("/proc/", pid, "/stat is not understood"));
    rest.remove_prefix(close + 2);
    if (rest.starts_with('Z') || rest.starts_with('X')) return std::optional<std::uint64_t>{};
    for (int field = 3; field < 22; ++field)
        rest.remove_prefix(std::min(rest.find(' '), rest.size() - 1) + 1);
    std::uint64_t ticks = 0;
    std::from_chars(rest.data(), rest.data() + rest.size(), ticks);
    return std::optional<std::uint64_t>{ticks};
}

Result<> die_with_parent(int signal)
{
    if (::prctl(PR_SET_PDEATHSIG, signal) < 0) return fail_os(errno, "set the parent-death signal");
    return {};
}

namespace {

/// "RTMIN+3", "RTMAX-1" and the like.
std::optional<int> real_time_signal(std::string_view name)
{
    const bool from_first = name.starts_with("RTMIN");
    if (!from_first && !name.starts_with("RTMAX")) return std::nullopt;
    name.remove_prefix(5);
    if (name.empty()) return from_first ? SIGRTMIN : SIGRTMAX;
    if (name.front() != (from_first ? '+' : '-')) return std::nullopt;
    const auto distance = parse_integer(name.substr(1), 0, SIGRTMAX - SIGRTMIN);
    if (!distance) return std::nullopt;
    return from_first ? SIGRTMIN + static_cast<int>(*distance) : SIGRTMAX - static_cast<int>(*distance);
}

} // namespace

Result<int> parse_signal(std::string_view text)
{
    if (!text.empty() && text.front() >= '0' && text.front() <= '9') {
        const auto number = TRY(parse_integer(text, 0, SIGRTMAX));
        return static_cast<int>(number);
    }
    std::string name;
    for (const char c : text)
        name += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    if (name.starts_with("SIG")) name.erase(0, 3);
    for (int signal = 1; signal < SIGRTMIN; ++signal) {
        const char* const abbreviation = ::sigabbrev_np(signal);
        if (abbreviation != nullptr && name == abbreviation) return signal;
    }
    if (const auto signal = real_time_signal(name)) return *signal;
    return fail(ErrorKind::Invalid, cat("there is no signal '", text, "'"));
}

} // namespace coppice::os
