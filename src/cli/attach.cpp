#include "attach.h"

#include "coppice/os/file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <string_view>
#include <sys/epoll.h>
#include <unistd.h>

namespace coppice::cli {

namespace {

const os::Fd& standard_input()
{
    // A descriptor of our own: the loop wants an owner, and standard input stays open.
    static const os::Fd kInput{::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)};
    return kInput;
}

} // namespace

Result<TerminalBridge> TerminalBridge::make(os::Fd terminal, bool with_input)
{
    ::signal(SIGPIPE, SIG_IGN); // a closed standard output must not end us with the terminal in raw mode
    std::optional<os::RawMode> raw;
    if (with_input && ::isatty(STDIN_FILENO) == 1) raw = TRY(os::RawMode::enter(STDIN_FILENO));
    TerminalBridge bridge{std::move(terminal), with_input, std::move(raw)};
    bridge.resize();
    return bridge;
}

TerminalBridge::Copied TerminalBridge::copy_output()
{
    std::array<char, 65536> buffer{};
    const auto got = os::retry_eintr([&] { return ::read(terminal_.get(), buffer.data(), buffer.size()); });
    if (got <= 0) return Copied::End; // EIO: nobody has the other side open any more
    const auto written =
        os::write_all(STDOUT_FILENO, {buffer.data(), static_cast<std::size_t>(got)}, "standard output");
    return written ? Copied::Some : Copied::NobodyReads;
}

Result<> TerminalBridge::add_to(os::EventLoop& loop)
{
    TRY(loop.add(terminal_, EPOLLIN, [this, &loop](std::uint32_t) {
        const Copied copied = copy_output();
        if (copied == Copied::Some) return;
        loop.remove(terminal_);
        if (copied == Copied::End) return;
        orphaned_ = true;
        loop.stop();
    }));
    if (!with_input_) return {};
    return loop.add(standard_input(), EPOLLIN, [this, &loop](std::uint32_t) {
        std::array<char, 4096> buffer{};
        const auto got = os::retry_eintr([&] { return ::read(STDIN_FILENO, buffer.data(), buffer.size()); });
        const bool passed_on =
            got > 0 && os::write_all(terminal_.get(), {buffer.data(), static_cast<std::size_t>(got)}, "the terminal");
        if (passed_on) return;
        loop.remove(standard_input());
        if (!raw_) return; // the end of a file or pipe: there is no more input, that is all
        orphaned_ = true;
        loop.stop();
    });
}

void TerminalBridge::resize()
{
    // Without a terminal of our own there is no size to hand on.
    if (const auto size = os::terminal_size(STDOUT_FILENO)) [[maybe_unused]]
        const auto set = os::set_terminal_size(terminal_, size->rows, size->columns);
}

void TerminalBridge::drain()
{
    pollfd waiting{.fd = terminal_.get(), .events = POLLIN, .revents = 0};
    while (::poll(&waiting, 1, 0) > 0 && (waiting.revents & POLLIN) != 0 && copy_output() == Copied::Some) {
    }
}

Result<> check_terminal_wish(bool terminal, bool interactive)
{
    if (terminal && interactive && ::isatty(STDIN_FILENO) != 1)
        return fail(Error{ErrorKind::Invalid, "-it: standard input is not a terminal"}.hint(
            "leave -t out to feed input from a file or pipe"));
    return {};
}

Result<os::SignalFd> forwarded_signals()
{
    // All but those about ourselves: our children, our faults, job control at our terminal, libc's own.
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
    return os::SignalFd::make(signals);
}

} // namespace coppice::cli
