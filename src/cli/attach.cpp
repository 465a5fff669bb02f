#include "attach.h"

#include "coppice/os/file.h"
#include "coppice/os/terminal.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <optional>
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

/// Our terminal, or what stands in its place, and the pty of an instance.
class TerminalBridge {
public:
    static Result<TerminalBridge> make(os::Fd terminal, bool with_input);

    Result<> add_to(os::EventLoop& loop);
    /// Our own terminal was hung up, or nobody reads our output any more. The loop has been stopped.
    [[nodiscard]] bool is_orphaned() const { return orphaned_; }
    /// Hands the size of our terminal on.
    void resize();
    /// Shows what is left to show, after the end of the program.
    void drain();

private:
    TerminalBridge(os::Fd terminal, bool with_input, std::optional<os::RawMode> raw)
        : terminal_{std::move(terminal)}, with_input_{with_input}, raw_{std::move(raw)}
    {
    }
    enum class Copied : unsigned char { Some, End, NobodyReads };
    Copied copy_output();
    os::Fd terminal_;
    bool with_input_;
    std::optional<os::RawMode> raw_;
    bool orphaned_ = false;
};

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

} // namespace

Result<bool> stay_attached(const Attachment& attachment, os::Fd terminal, bool with_input)
{
    auto loop = TRY(os::EventLoop::make());
    std::optional<TerminalBridge> bridge;
    if (terminal.is_open()) {
        bridge = TRY(TerminalBridge::make(std::move(terminal), with_input));
        TRY(bridge->add_to(loop));
    }
    TRY(loop.add(attachment.signals.fd(), EPOLLIN, [&](std::uint32_t) {
        while (const int signal = attachment.signals.next()) {
            if (signal == SIGWINCH && bridge) {
                bridge->resize();
                continue;
            }
            [[maybe_unused]] const auto sent = attachment.send(signal); // it may just have ended
        }
    }));
    TRY(loop.add(attachment.events, EPOLLIN, [&](std::uint32_t) {
        if (attachment.is_over()) loop.stop();
    }));
    TRY(loop.run());
    if (bridge && bridge->is_orphaned()) return false;
    if (bridge) bridge->drain();
    return true;
}

Result<> check_terminal_wish(bool terminal, bool interactive)
{
    if (terminal && interactive && ::isatty(STDIN_FILENO) != 1)
        return fail(Error{ErrorKind::Invalid, "-it: standard input is not a terminal"}.hint(
            "leave -t out to feed input from a file or pipe"));
    return {};
}

} // namespace coppice::cli
