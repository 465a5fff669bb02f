#pragma once

#include "coppice/os/fd.h"

#include <optional>
#include <string>
#include <termios.h>
#include <utility>

namespace coppice::os {

/// A pseudo terminal: `master` for whoever shows it, `slave` for the program that runs in it.
struct Pty {
    Fd master, slave;
    std::string slave_name; ///< as seen in the mount namespace of the caller, for example /dev/pts/0
};

/// Opens a new pty through the given ptmx, whose file system must be devpts: a forged one is refused. Source: pts(4)
Result<Pty> open_pty(int root, const std::string& ptmx);

/// The side of a program, opened from the master and not by name: no path for a container to tamper with.
Result<Fd> open_far_side(const Fd& master);

/// In characters.
struct TerminalSize {
    unsigned short rows = 0, columns = 0;
};
Result<TerminalSize> terminal_size(int terminal);
Result<> set_terminal_size(const Fd& terminal, unsigned short rows, unsigned short columns);

/// Puts a terminal into raw mode and gives it back as it was when the object goes.
class [[nodiscard]] RawMode {
public:
    static Result<RawMode> enter(int terminal);
    RawMode(RawMode&& other) noexcept : terminal_{std::exchange(other.terminal_, -1)}, before_{other.before_} {}
    RawMode& operator=(RawMode&& other) noexcept
    {
        std::swap(terminal_, other.terminal_);
        std::swap(before_, other.before_);
        return *this;
    }
    ~RawMode();

private:
    RawMode(int terminal, const termios& before) : terminal_{terminal}, before_{before} {}
    int terminal_;
    termios before_;
};

/// Makes `slave` the controlling terminal of this session and its descriptors 0, 1 and 2.
Result<> adopt_terminal(const Fd& slave);

} // namespace coppice::os
