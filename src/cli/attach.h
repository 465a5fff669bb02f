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
};

/// Connects this process's terminal with the pty of an instance (keys go in, output comes out, the size follows), hands
/// signals on, and waits for the end. Without a pty the streams are connected already. Blocks.
/// @param terminal master of the pty; not open when there is none
/// @param with_input hand standard input on (-i)
/// False when our own terminal was hung up or nobody reads our output any more: what is attached to us ends with us.
Result<bool> stay_attached(const Attachment& attachment, os::Fd terminal, bool with_input);

/// Exit status of an attached command whose terminal was hung up, as a shell gives it for SIGHUP.
inline constexpr int kHungUpStatus = 129;

/// -t with -i needs a terminal to read from. Errors: Invalid
Result<> check_terminal_wish(bool terminal, bool interactive);

} // namespace coppice::cli
