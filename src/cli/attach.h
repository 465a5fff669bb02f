#pragma once

#include "coppice/os/event_loop.h"
#include "coppice/os/fd.h"
#include "coppice/os/terminal.h"

#include <functional>
#include <optional>

namespace coppice::cli {

/// Connects this process's terminal with the pty of an instance: keys go in, output comes out, the size follows.
class TerminalBridge {
public:
    /// @param terminal master of the pty; the bridge takes it
    /// @param with_input hand standard input on (-i)
    static Result<TerminalBridge> make(os::Fd terminal, bool with_input);

    Result<> add_to(os::EventLoop& loop);
    /// Our own terminal was hung up, or nobody reads our output any more. The loop has been stopped.
    [[nodiscard]] bool is_orphaned() const { return orphaned_; }
    /// Hands the size of our terminal on; call it on SIGWINCH.
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

/// Exit status of an attached command whose terminal was hung up, as a shell gives it for SIGHUP.
inline constexpr int kHungUpStatus = 129;

/// -t with -i needs a terminal to read from. Errors: Invalid
Result<> check_terminal_wish(bool terminal, bool interactive);

/// The signals that an attached command hands on to what it is attached to.
Result<os::SignalFd> forwarded_signals();

} // namespace coppice::cli
