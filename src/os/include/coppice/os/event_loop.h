#pragma once

#include "coppice/os/fd.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

namespace coppice::os {

/// A single-threaded loop over epoll(7). Handlers run in the thread that calls `run`; they may add and remove.
class EventLoop {
public:
    using Handler = std::function<void(std::uint32_t events)>;

    static Result<EventLoop> make();

    /// Watches a descriptor that the caller keeps open until `remove`. @param events EPOLLIN, EPOLLOUT; 0 waits only
    /// for errors and hang-ups
    Result<> add(const Fd& fd, std::uint32_t events, Handler handler);
    Result<> change(const Fd& fd, std::uint32_t events);
    void remove(const Fd& fd);

    /// Calls handlers until `stop`. Blocks. Errors: Os
    Result<> run();
    void stop() { stopped_ = true; }

private:
    explicit EventLoop(Fd epoll) : epoll_{std::move(epoll)} {}
    Fd epoll_;
    std::map<int, std::shared_ptr<Handler>> handlers_; // shared: a handler may remove itself while it runs
    bool stopped_ = false;
};

/// Signals as a readable descriptor. The signals are blocked in the calling thread; children must unblock them.
class SignalFd {
public:
    static Result<SignalFd> make(const std::vector<int>& signals);
    [[nodiscard]] const Fd& fd() const { return fd_; }
    /// The next pending signal's number, 0 when there is none. Does not block.
    [[nodiscard]] int next() const;

private:
    explicit SignalFd(Fd fd) : fd_{std::move(fd)} {}
    Fd fd_;
};

/// A clock as a readable descriptor. Source: timerfd_create(2), CLOCK_MONOTONIC
class TimerFd {
public:
    static Result<TimerFd> make();
    [[nodiscard]] const Fd& fd() const { return fd_; }
    /// Readable after `first_ms`, at least 1, and then every `every_ms`; 0: not again. What was set before is over.
    Result<> set(std::int64_t first_ms, std::int64_t every_ms) const;
    /// Makes it unreadable until it is due again. Does not block.
    void clear() const;

private:
    explicit TimerFd(Fd fd) : fd_{std::move(fd)} {}
    Fd fd_;
};

/// The signals that a command which stands for another process hands on to it: all that it was not started to ignore,
/// but for those about itself (its children, its faults, job control at its terminal, libc's own).
std::vector<int> forwardable_signals();

/// Unblocks every signal and resets every disposition to its default, for a process that will run foreign code.
void reset_signals();

} // namespace coppice::os
