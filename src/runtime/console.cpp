#include "coppice/runtime/console.h"

#include "coppice/os/unix_socket.h"

#include <fcntl.h>

namespace coppice::runtime {

Result<os::Fd> open_console_socket(const Console& console, bool terminal)
{
    const bool given = !console.socket_path.empty() || console.socket_fd >= 0;
    if (terminal && !given)
        return fail(ErrorKind::Invalid,
                    "process.terminal is true but nobody takes the terminal: give --console-socket");
    if (!terminal && given) return fail(ErrorKind::Invalid, "a console socket is given but process.terminal is false");
    if (!console.socket_path.empty()) return os::connect_stream(console.socket_path);
    if (console.socket_fd < 0) return os::Fd{};
    os::Fd copy{::fcntl(console.socket_fd, F_DUPFD_CLOEXEC, 3)};
    if (!copy.is_open()) return fail_os(errno, "use the console socket");
    return copy;
}

Result<> send_console(const os::Fd& socket, const os::Pty& pty)
{
    return with_context(os::send_message(socket, pty.slave_name, {pty.master.get()}), "hand over the terminal");
}

Result<os::Fd> receive_console(const os::Fd& socket)
{
    auto message = TRY(os::receive_message(socket, 4096));
    if (message.fds.size() != 1) return fail(ErrorKind::Unavailable, "no terminal came: the container did not start");
    return std::move(message.fds.front());
}

} // namespace coppice::runtime
