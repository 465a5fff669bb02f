#pragma once

#include "coppice/os/fd.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <unistd.h>

namespace coppice::os {

/// How a process ended, in a shell's convention: its exit status, or 128 + the signal that ended it.
struct ExitStatus {
    int code = 0;
    bool by_signal = false;
};

/// What a new process gets; for `fork_process`.
struct CloneOptions {
    std::uint64_t flags = 0; ///< CLONE_NEW*, CLONE_PARENT
    int cgroup = -1;         ///< directory of a v2 cgroup to be born in; -1 for the parent's
    int exit_signal = 17;    ///< SIGCHLD
};

/// A child of ours. Unless `detach`ed or waited for it is killed and reaped when the object goes: no zombie and no
/// orphan on any error path. Observing foreign processes is the job of `ProcessRef`.
class [[nodiscard]] Process {
public:
    Process() = default;
    Process(pid_t pid, Fd pidfd) : pid_{pid}, pidfd_{std::move(pidfd)} {}
    Process(Process&& other) noexcept;
    Process& operator=(Process&& other) noexcept;
    ~Process();

    [[nodiscard]] pid_t pid() const { return pid_; }
    [[nodiscard]] const Fd& pidfd() const { return pidfd_; }

    /// Waits for the end and reaps. Blocks.
    Result<ExitStatus> wait();
    /// The end if it has come already. Does not block.
    Result<std::optional<ExitStatus>> poll();
    Result<> send(int signal) const;
    /// Lets the child live on without us; it is reaped by whoever is its parent then.
    pid_t detach();

private:
    void kill_and_reap();
    pid_t pid_ = -1;
    Fd pidfd_;
};

/// fork with clone3(2) flags, for single-threaded callers: the child runs `body` and ends with its result as exit
/// status. All memory is the child's own, so `body` may allocate. Errors: Os (message names the likely cause)
template <typename Body> Result<Process> fork_process(const CloneOptions& options, Body&& body);
/// The two halves of it: `pid` 0 in the child.
struct ForkResult {
    pid_t pid = 0;
    Fd pidfd;
};
Result<ForkResult> clone_process(const CloneOptions& options);

/// A process by its number. Empty when no process has that number (any more): what has been reaped, or names only a
/// thread, a process group or a session.
Result<std::optional<Fd>> open_process(pid_t pid);

/// A process that is not our child, held by pidfd, so that its number can never come to mean another one.
class [[nodiscard]] ProcessRef {
public:
    /// @param start_time as `process_start_time`; empty result when the process has gone or the number was given out
    ///        again since
    static Result<std::optional<ProcessRef>> find(pid_t pid, std::uint64_t start_time);
    [[nodiscard]] pid_t pid() const { return pid_; }
    [[nodiscard]] const Fd& pidfd() const { return pidfd_; }
    /// Errors: NotFound when it has ended.
    Result<> send(int signal) const;
    /// Waits until it has ended; false when the time ran out. @param milliseconds -1 for ever
    [[nodiscard]] Result<bool> wait_gone(int milliseconds) const;

private:
    ProcessRef(pid_t pid, Fd pidfd) : pid_{pid}, pidfd_{std::move(pidfd)} {}
    pid_t pid_;
    Fd pidfd_;
};

/// Start time of a process in clock ticks since boot, the kernel's half of a process's identity; empty when there is
/// no such process or only its zombie is left. Source: proc_pid_stat(5), fields 3 and 22
Result<std::optional<std::uint64_t>> process_start_time(pid_t pid);

/// Has `signal` sent to this process when its parent thread ends. A change of credentials forgets it, so call it after
/// the last one. Source: PR_SET_PDEATHSIG in prctl(2)
Result<> die_with_parent(int signal);

ExitStatus decode_wait_status(int status);

template <typename Body> Result<Process> fork_process(const CloneOptions& options, Body&& body)
{
    auto forked = clone_process(options);
    if (!forked) return fail(std::move(forked).error());
    if (forked->pid == 0) ::_exit(body());
    return Process{forked->pid, std::move(forked->pidfd)};
}

/// Signals by name ("TERM", "SIGTERM", "term") or number. Errors: Invalid
Result<int> parse_signal(std::string_view text);

} // namespace coppice::os
