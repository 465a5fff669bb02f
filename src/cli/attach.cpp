#include "attach.h"

#include "coppice/os/file.h"
#include "coppice/os/terminal.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <fcntl.h>
#include <optional>
#include <poll.h>
#include <string>
#include <string_view>
#include <sys/epoll.h>
#include <unistd.h>
#include <utility>

namespace coppice::cli {

namespace {

const os::Fd& standard_input()
{
    // A descriptor of our own: the loop wants an owner, and standard input stays open.
    static const os::Fd kInput{::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)};
    return kInput;
}

constexpr char kControlP = 'P' & 0x1F, kControlQ = 'Q' & 0x1F;

/// Our streams, and those of what is attached.
class Bridge {
public:
    static Result<Bridge> make(Streams streams, bool may_leave);

    Result<> add_to(os::EventLoop& loop);
    /// Why the loop has been stopped, if it was here.
    [[nodiscard]] Over over() const { return over_; }
    /// Hands the size of our terminal on.
    void resize();
    /// Shows what is left to show, after the end of the program.
    void drain();

private:
    Bridge(Streams streams, bool may_leave, std::optional<os::RawMode> raw)
        : streams_{std::move(streams)}, may_leave_{may_leave}, raw_{std::move(raw)}
    {
    }
    enum class Copied : unsigned char { Some, End, NobodyReads };
    static Copied copy(const os::Fd& from, int to);
    Result<> show(os::EventLoop& loop, const os::Fd& from, int to);
    void take_input(os::EventLoop& loop);
    void take_file(os::EventLoop& loop);
    bool takes_leave(std::string& keys);

    Streams streams_;
    bool may_leave_;
    std::optional<os::RawMode> raw_;
    bool has_control_p_ = false; ///< seen, and not handed on yet
    Over over_ = Over::Ended;
};

Result<Bridge> Bridge::make(Streams streams, bool may_leave)
{
    ::signal(SIGPIPE, SIG_IGN); // a closed standard output must not end us with the terminal in raw mode
    std::optional<os::RawMode> raw;
    if (streams.terminal && streams.input.is_open() && ::isatty(STDIN_FILENO) == 1)
        raw = TRY(os::RawMode::enter(STDIN_FILENO));
    Bridge bridge{std::move(streams), may_leave, std::move(raw)};
    bridge.resize();
    return bridge;
}

Bridge::Copied Bridge::copy(const os::Fd& from, int to)
{
    std::array<char, 65536> buffer{};
    const auto got = os::retry_eintr([&] { return ::read(from.get(), buffer.data(), buffer.size()); });
    if (got <= 0) return Copied::End; // EIO: nobody has the other side of a terminal open any more
    const auto written = os::write_all(to, {buffer.data(), static_cast<std::size_t>(got)},
                                       to == STDOUT_FILENO ? "standard output" : "standard error");
    return written ? Copied::Some : Copied::NobodyReads;
}

Result<> Bridge::show(os::EventLoop& loop, const os::Fd& from, int to)
{
    if (!from.is_open()) return {};
    return loop.add(from, EPOLLIN, [this, &loop, &from, to](std::uint32_t) {
        const Copied copied = copy(from, to);
        if (copied == Copied::Some) return;
        loop.remove(from);
        if (copied == Copied::End) return;
        over_ = Over::HungUp;
        loop.stop();
    });
}

/// Takes Ctrl-P Ctrl-Q out of what was typed. A Ctrl-P is handed on when it is known what follows it.
bool Bridge::takes_leave(std::string& keys)
{
    std::string handed_on;
    for (const char key : keys) {
        if (has_control_p_ && key == kControlQ) return true;
        if (has_control_p_) handed_on += kControlP;
        has_control_p_ = key == kControlP;
        if (!has_control_p_) handed_on += key;
    }
    keys = std::move(handed_on);
    return false;
}

void Bridge::take_input(os::EventLoop& loop)
{
    std::array<char, 65536> buffer{};
    const auto got = os::retry_eintr([&] { return ::read(STDIN_FILENO, buffer.data(), buffer.size()); });
    std::string keys{buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))};
    if (got > 0 && raw_ && may_leave_ && takes_leave(keys)) {
        over_ = Over::Left;
        return loop.stop();
    }
    if (got > 0 && os::write_all(streams_.input.get(), keys, "the input")) return;
    loop.remove(standard_input());
    if (!streams_.terminal) streams_.input.reset();
    if (!raw_) return; // the end of a file or pipe: there is no more input, that is all
    over_ = Over::HungUp;
    loop.stop();
}

void Bridge::take_file(os::EventLoop& loop)
{
    std::array<char, PIPE_BUF> buffer{}; // as much is taken at once
    const auto got = os::retry_eintr([&] { return ::read(STDIN_FILENO, buffer.data(), buffer.size()); });
    const std::string_view text{buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))};
    if (got > 0 && os::write_all(streams_.input.get(), text, "the input")) return;
    loop.remove(streams_.input);
    if (!streams_.terminal) streams_.input.reset();
}

Result<> Bridge::add_to(os::EventLoop& loop)
{
    TRY(show(loop, streams_.output, STDOUT_FILENO));
    TRY(show(loop, streams_.errors, STDERR_FILENO));
    if (!streams_.input.is_open()) return {};
    auto added = loop.add(standard_input(), EPOLLIN, [this, &loop](std::uint32_t) { take_input(loop); });
    if (!added &&
        added.error().os_errno() == EPERM) // a file is always ready: then it is the other side that is waited for
        return loop.add(streams_.input, EPOLLOUT, [this, &loop](std::uint32_t) { take_file(loop); });
    return added;
}

void Bridge::resize()
{
    // Without a terminal of our own there is no size to hand on.
    if (!streams_.terminal) return;
    const os::Fd& terminal = streams_.input.is_open() ? streams_.input : streams_.output;
    if (const auto size = os::terminal_size(STDOUT_FILENO)) [[maybe_unused]]
        const auto set = os::set_terminal_size(terminal, size->rows, size->columns);
}

void Bridge::drain()
{
    for (const auto& [from, to] : {std::pair{&streams_.output, STDOUT_FILENO}, {&streams_.errors, STDERR_FILENO}}) {
        if (!from->is_open()) continue;
        pollfd waiting{.fd = from->get(), .events = POLLIN, .revents = 0};
        while (::poll(&waiting, 1, 0) > 0 && (waiting.revents & POLLIN) != 0 && copy(*from, to) == Copied::Some) {
        }
    }
}

} // namespace

Result<Streams> Streams::of_terminal(os::Fd master, bool with_input)
{
    Streams streams;
    if (!master.is_open()) return streams;
    streams.terminal = true;
    if (with_input) streams.input = TRY(master.duplicate());
    streams.output = std::move(master);
    return streams;
}

Result<Over> stay_attached(const Attachment& attachment, Streams streams)
{
    auto loop = TRY(os::EventLoop::make());
    std::optional<Bridge> bridge;
    if (streams.output.is_open()) {
        bridge = TRY(Bridge::make(std::move(streams), attachment.may_leave));
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
    if (bridge && bridge->over() != Over::Ended) return bridge->over();
    if (bridge) bridge->drain();
    return Over::Ended;
}

Result<> check_terminal_wish(bool terminal, bool interactive)
{
    if (terminal && interactive && ::isatty(STDIN_FILENO) != 1)
        return fail(Error{ErrorKind::Invalid, "-it: standard input is not a terminal"}.hint(
            "leave -t out to feed input from a file or pipe"));
    return {};
}

} // namespace coppice::cli
