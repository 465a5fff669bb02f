#include "attach.h"

#include "coppice/os/file.h"

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
    std::optional<os::RawMode> raw;
    if (with_input && ::isatty(STDIN_FILENO) == 1) raw = TRY(os::RawMode::enter(STDIN_FILENO));
    TerminalBridge bridge{std::move(terminal), with_input, std::move(raw)};
    bridge.resize();
    return bridge;
}

bool TerminalBridge::copy_output()
{
    std::array<char, 65536> buffer{};
    const auto got = os::retry_eintr([&] { return ::read(terminal_.get(), buffer.data(), buffer.size()); });
    if (got <= 0) return false; // EIO: nobody has the other side open any more
    const auto written =
        os::write_all(STDOUT_FILENO, {buffer.data(), static_cast<std::size_t>(got)}, "standard output");
    return written.has_value();
}

Result<> TerminalBridge::add_to(os::EventLoop& loop)
{
    TRY(loop.add(terminal_, EPOLLIN, [this, &loop](std::uint32_t) {
        if (!copy_output()) loop.remove(terminal_);
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
    while (::poll(&waiting, 1, 0) > 0 && (waiting.revents & POLLIN) != 0 && copy_output()) {
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
    return os::SignalFd::make({SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGCONT, SIGWINCH});
}

} // namespace coppice::cli
