#include "coppice/os/event_loop.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

namespace coppice::os {

Result<EventLoop> EventLoop::make()
{
    Fd epoll{::epoll_create1(EPOLL_CLOEXEC)};
    if (!epoll.is_open()) return fail_os(errno, "create an event loop");
    return EventLoop{std::move(epoll)};
}

Result<> EventLoop::add(const Fd& fd, std::uint32_t events, Handler handler)
{
    epoll_event event{.events = events, .data = {.fd = fd.get()}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd.get(), &event) < 0) return fail_os(errno, "watch a descriptor");
    handlers_[fd.get()] = std::make_shared<Handler>(std::move(handler));
    return {};
}

Result<> EventLoop::change(const Fd& fd, std::uint32_t events)
{
    epoll_event event{.events = events, .data = {.fd = fd.get()}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd.get(), &event) < 0) return fail_os(errno, "watch a descriptor");
    return {};
}

void EventLoop::remove(const Fd& fd)
{
    if (handlers_.erase(fd.get()) > 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd.get(), nullptr);
}

Result<> EventLoop::run()
{
    stopped_ = false;
    std::array<epoll_event, 16> ready{};
    while (!stopped_) {
        const int count = ::epoll_wait(epoll_.get(), ready.data(), static_cast<int>(ready.size()), -1);
        if (count < 0) {
            if (errno == EINTR) continue;
            return fail_os(errno, "wait for events");
        }
        for (int i = 0; i < count && !stopped_; ++i) {
            const auto& event = ready[static_cast<std::size_t>(i)];
            const auto found = handlers_.find(event.data.fd);
            if (found == handlers_.end()) continue; // removed by an earlier handler of this round
            const auto handler = found->second;
            (*handler)(event.events);
        }
    }
    return {};
}

Result<TimerFd> TimerFd::make()
{
    Fd timer{::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)};
    if (!timer.is_open()) return fail_os(errno, "make a timer");
    return TimerFd{std::move(timer)};
}

Result<> TimerFd::set(std::int64_t first_ms, std::int64_t every_ms) const
{
    const auto time_of = [](std::int64_t ms) {
        return timespec{.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1'000'000L};
    };
    const itimerspec times{.it_interval = time_of(every_ms), .it_value = time_of(std::max<std::int64_t>(first_ms, 1))};
    if (::timerfd_settime(fd_.get(), 0, &times, nullptr) < 0) return fail_os(errno, "set a timer");
    return {};
}

void TimerFd::clear() const
{
    std::uint64_t ticks = 0;
    [[maybe_unused]] const auto got = ::read(fd_.get(), &ticks, sizeof ticks); // EAGAIN: it was clear
}

Result<SignalFd> SignalFd::make(const std::vector<int>& signals)
{
    sigset_t set;
    ::sigemptyset(&set);
    for (const int signal : signals)
        ::sigaddset(&set, signal);
    if (::sigprocmask(SIG_BLOCK, &set, nullptr) < 0) return fail_os(errno, "block signals");
    Fd fd{::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
    if (!fd.is_open()) return fail_os(errno, "create a signal descriptor");
    return SignalFd{std::move(fd)};
}

std::vector<int> forwardable_signals()
{
    constexpr std::array kOurOwn{SIGKILL, SIGSTOP, SIGCHLD, SIGPIPE, SIGURG,  SIGSEGV, SIGBUS, SIGFPE,
                                 SIGILL,  SIGABRT, SIGTRAP, SIGSYS,  SIGTSTP, SIGTTIN, SIGTTOU};
    std::vector<int> signals;
    for (int signal = 1; signal <= SIGRTMAX; ++signal) {
        if (std::find(kOurOwn.begin(), kOurOwn.end(), signal) != kOurOwn.end()) continue;
        if (signal > SIGSYS && signal < SIGRTMIN) continue;
        struct sigaction now{};
        // What we were started to ignore (nohup) is nothing to hand on.
        if (::sigaction(signal, nullptr, &now) == 0 && now.sa_handler == SIG_IGN) continue;
        signals.push_back(signal);
    }
    return signals;
}

int SignalFd::next() const
{
    signalfd_siginfo info{};
    return ::read(fd_.get(), &info, sizeof info) == sizeof info ? static_cast<int>(info.ssi_signo) : 0;
}

void reset_signals()
{
    for (int signal = 1; signal < NSIG; ++signal)
        ::signal(signal, SIG_DFL); // refused for SIGKILL, SIGSTOP and libc's own: right so
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

} // namespace coppice::os
