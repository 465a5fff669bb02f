#pragma once

#include "coppice/os/fd.h"
#include "coppice/os/terminal.h"
#include "coppice/runtime/container.h"

namespace coppice::runtime {

/// Connects to whoever wants the terminal of a container; not open when there is no terminal.
/// Errors: Invalid (terminal without a socket or the other way round)
Result<os::Fd> open_console_socket(const Console& console, bool terminal);

/// Sends the pty's master, as runc's --console-socket protocol has it: one descriptor, with the slave's name as bytes.
Result<> send_console(const os::Fd& socket, const os::Pty& pty);

/// The receiving end of it. Blocks until it comes.
Result<os::Fd> receive_console(const os::Fd& socket);

} // namespace coppice::runtime
