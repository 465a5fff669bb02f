#pragma once

#include "coppice/os/event_loop.h"
#include "coppice/os/fd.h"

#include <functional>

namespace coppice::cli {

/// What an attached command waits for.
struct Attachment {
    const os::SignalFd& signals;       ///< what comes here goes to the other side, but for the terminal's size
    std::function<Result<>(int)> send; ///< hands a signal over; that nobody is there any more is no error
    const os::Fd& events;              ///< readable when something has happened on the other side
    std::function<bool()> is_over;     ///< asked then
    bool may_leave = false;            ///< Ctrl-P Ctrl-Q at our terminal leaves it alone
};

/// What is to be copied between us and the other side. Without any the streams are connected already.
struct Streams {
    os::Fd output, errors; ///< to our standard output and error; not open: there is none
    os::Fd input;          ///< standard input goes there; not open: there is none
    bool terminal = false; ///< `input` is the master of a pty: keys go there one by one, and its size follows ours

    static Result<Streams> of_terminal(os::Fd master, bool with_input);
};

enum class Over : unsigned char {
    Ended,  ///< the other side
    HungUp, ///< our terminal, or nobody reads our output any more: what is attached to us ends with us
    Left,   ///< by Ctrl-P Ctrl-Q
};

/// Copies streams, hands signals on, and waits for the end. Blocks.
Result<Over> stay_attached(const Attachment& attachment, Streams streams);

/// Exit status of an attached command whose terminal was hung up, as a shell gives it for SIGHUP.
inline constexpr int kHungUpStatus = 129;

/// -t with -i needs a terminal to read from. Errors: Invalid
Result<> check_terminal_wish(bool terminal, bool interactive);

} // namespace coppice::cli
