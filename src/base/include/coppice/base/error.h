#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace coppice {

/// What callers branch on; the text is for people only.
enum class ErrorKind : std::uint8_t {
    NotFound,             ///< the named thing does not exist
    Denied,               ///< not allowed: rights or policy
    Conflict,             ///< exists already, is in use, or is in the wrong state
    Corrupt,              ///< content is not what it claims to be
    Unavailable,          ///< cannot be had now: a full disk, a dead peer, a limit reached
    Unsupported,          ///< this kernel, file system or version cannot do it
    Invalid,              ///< the request itself is wrong
    Gone,                 ///< the process or peer at the other end has ended
    CommandNotFound,      ///< the command to run inside does not exist (a shell says 127)
    CommandNotExecutable, ///< it exists but cannot be run (a shell says 126)
    Os,                   ///< any other failed system call
};

/// A failure as a value: what, where, why, and what to do about it.
///
/// The message is read from the outside in ("run web: attach root: open /x: No such file or directory"): each
/// layer adds what *it* was doing by `with`. The hint says what a person can do and is printed after the message.
class Error {
public:
    Error(ErrorKind kind, std::string message) : kind_{kind}, message_{std::move(message)} {}

    /// From errno: the kind follows from the number, the message is `what: strerror(number)`.
    static Error os(int number, std::string_view what);

    Error with(std::string_view doing) &&;
    Error hint(std::string_view what_to_do) &&;
    Error as(ErrorKind kind) &&;

    [[nodiscard]] ErrorKind kind() const { return kind_; }
    [[nodiscard]] int os_errno() const { return errno_; } ///< 0 when no system call failed
    [[nodiscard]] const std::string& message() const { return message_; }
    [[nodiscard]] const std::string& hint_text() const { return hint_; }
    /// One line: message, and the hint in parentheses when there is one.
    [[nodiscard]] std::string line() const;

private:
    ErrorKind kind_;
    int errno_ = 0;
    std::string message_;
    std::string hint_;
};

/// An error as bytes, for another process of ours, and back. Kind, message and hint survive.
std::string encode(const Error& error);
Error decode_error(std::string_view text);

/// Broken invariants of our own: prints and aborts. Input, kernel and network never trip it.
[[noreturn]] void check_failed(const char* condition, const char* file, int line);

} // namespace coppice

#define COPPICE_CHECK(condition)                                                   \
    do {                                                                           \
        if (!(condition)) ::coppice::check_failed(#condition, __FILE__, __LINE__); \
    } while (false)
