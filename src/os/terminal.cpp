#include "coppice/os/terminal.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/mount.h"

#include <cerrno>
#include <cstdlib>
#include <sys/ioctl.h>
#include <unistd.h>

namespace coppice::os {

namespace {
constexpr std::uint64_t kDevptsMagic = 0x1cd1;
constexpr int kPeerFlags = O_RDWR | O_NOCTTY | O_CLOEXEC;
} // namespace

Result<Fd> open_far_side(const Fd& master)
{
    Fd slave{::ioctl(master.get(), TIOCGPTPEER, kPeerFlags)};
    if (!slave.is_open()) return fail_os(errno, "open the far side of a terminal");
    return slave;
}

Result<Pty> open_pty(int root, const std::string& ptmx)
{
    Pty pty;
    pty.master = TRY(open_in_root(root, ptmx, O_RDWR | O_NOCTTY));
    if (TRY(file_system_magic(pty.master.get())) != kDevptsMagic)
        return fail(ErrorKind::Invalid, cat(ptmx, " is not the terminal multiplexer of a devpts file system"));
    int unlock = 0;
    unsigned number = 0;
    if (::ioctl(pty.master.get(), TIOCSPTLCK, &unlock) < 0 || ::ioctl(pty.master.get(), TIOCGPTN, &number) < 0)
        return fail_os(errno, "set up a terminal");
    pty.slave = TRY(open_far_side(pty.master));
    pty.slave_name = cat("/dev/pts/", number);
    return pty;
}

Result<TerminalSize> terminal_size(int terminal)
{
    winsize size{};
    if (::ioctl(terminal, TIOCGWINSZ, &size) < 0) return fail_os(errno, "ask for the terminal size");
    return TerminalSize{.rows = size.ws_row, .columns = size.ws_col};
}

Result<> set_terminal_size(const Fd& terminal, unsigned short rows, unsigned short columns)
{
    const winsize size{.ws_row = rows, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
    if (::ioctl(terminal.get(), TIOCSWINSZ, &size) < 0) return fail_os(errno, "set the terminal size");
    return {};
}

Result<RawMode> RawMode::enter(int terminal)
{
    termios before{};
    if (::tcgetattr(terminal, &before) < 0) return fail_os(errno, "ask for the terminal mode");
    termios raw = before;
    ::cfmakeraw(&raw);
    if (::tcsetattr(terminal, TCSADRAIN, &raw) < 0) return fail_os(errno, "set the terminal mode");
    return RawMode{terminal, before};
}

RawMode::~RawMode()
{
    if (terminal_ >= 0) ::tcsetattr(terminal_, TCSADRAIN, &before_);
}

Result<> adopt_terminal(const Fd& slave)
{
    if (::ioctl(slave.get(), TIOCSCTTY, 0) < 0) return fail_os(errno, "take the controlling terminal");
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
        if (::dup2(slave.get(), fd) < 0) return fail_os(errno, "connect the terminal");
    return {};
}

} // namespace coppice::os
