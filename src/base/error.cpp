#include "coppice/base/error.h"

#include "coppice/base/text.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace coppice {

namespace {

ErrorKind kind_of_errno(int number)
{
    switch (number) {
    case ENOENT:
    case ESRCH:
    case ENXIO:
    case ENODEV: return ErrorKind::NotFound;
    case EPERM:
    case EACCES:
    case EROFS: return ErrorKind::Denied;
    case EEXIST:
    case EBUSY:
    case ENOTEMPTY:
    case ETXTBSY: return ErrorKind::Conflict;
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EAGAIN:
    case ETIMEDOUT: return ErrorKind::Unavailable;
    case ENOSYS:
    case EOPNOTSUPP: return ErrorKind::Unsupported;
    case EINVAL:
    case ENAMETOOLONG:
    case ENOTDIR:
    case EISDIR:
    case ELOOP: return ErrorKind::Invalid;
    default: return ErrorKind::Os;
    }
}

} // namespace

Error Error::os(int number, std::string_view what)
{
    Error error{kind_of_errno(number), cat(what, ": ", std::strerror(number))};
    error.errno_ = number;
    if (number == ENOSPC || number == EDQUOT) error.hint_ = "free some space, then try again";
    return error;
}

Error Error::with(std::string_view doing) &&
{
    message_ = cat(doing, ": ", message_);
    return std::move(*this);
}

Error Error::hint(std::string_view what_to_do) &&
{
    if (hint_.empty()) hint_ = what_to_do; // the innermost layer knows best
    return std::move(*this);
}

Error Error::as(ErrorKind kind) &&
{
    kind_ = kind;
    return std::move(*this);
}

std::string Error::line() const { return printable(hint_.empty() ? message_ : cat(message_, " (", hint_, ")")); }

// Form: one character for the kind, message, NUL, hint.
std::string encode(const Error& error)
{
    std::string text = cat(static_cast<char>('A' + static_cast<int>(error.kind())), error.message());
    text += '\0';
    return text + error.hint_text();
}

Error decode_error(std::string_view text)
{
    if (text.empty()) return {ErrorKind::Os, "an unknown error"};
    const int kind = text.front() - 'A';
    const bool known = kind >= 0 && kind <= static_cast<int>(ErrorKind::Os);
    text.remove_prefix(1);
    const auto end = text.find('\0');
    Error error{known ? static_cast<ErrorKind>(kind) : ErrorKind::Os, std::string{text.substr(0, end)}};
    if (end != std::string_view::npos && end + 1 < text.size()) error = std::move(error).hint(text.substr(end + 1));
    return error;
}

void check_failed(const char* condition, const char* file, int line)
{
    std::fprintf(stderr, "coppice: broken invariant: %s at %s:%d\n", condition, file, line);
    std::abort();
}

} // namespace coppice
