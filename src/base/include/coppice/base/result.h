#pragma once

#include "coppice/base/error.h"

#include <expected>
#include <utility>

namespace coppice {

/// A value or an Error. Failure is ordinary here, so it stands in the type; exceptions are left for bugs and
/// exhausted memory. (A class of our own because std::expected of GCC 12 is not [[nodiscard]].)
template <typename T = void> class [[nodiscard]] Result : public std::expected<T, Error> {
public:
    using std::expected<T, Error>::expected;
};

/// Shorthand for `return fail(ErrorKind::Invalid, "...")`.
inline std::unexpected<Error> fail(ErrorKind kind, std::string message)
{
    return std::unexpected<Error>(Error{kind, std::move(message)});
}
inline std::unexpected<Error> fail(Error error) { return std::unexpected<Error>(std::move(error)); }
inline std::unexpected<Error> fail_os(int number, std::string_view what)
{
    return std::unexpected<Error>(Error::os(number, what));
}

/// Adds what the caller was doing to the error of `result`, if it has one.
template <typename T> Result<T> with_context(Result<T>&& result, std::string_view doing)
{
    if (!result) return fail(std::move(result).error().with(doing));
    return std::move(result);
}

namespace detail {
template <typename T> T take(Result<T>& result) { return *std::move(result); }
inline void take(Result<void>&) {}
} // namespace detail

} // namespace coppice

/// The value of a Result, or an early return of its error. One per statement, bound to a name: within braces of an
/// aggregate GCC 12 forgets to destroy earlier members on the early return.
#define TRY(expression) COPPICE_TRY_(COPPICE_JOIN_(coppice_try_, __COUNTER__), expression, )

/// TRY that first adds what was being done to the error.
#define TRY_DOING(doing, expression) COPPICE_TRY_(COPPICE_JOIN_(coppice_try_, __COUNTER__), expression, .with(doing))

// A name of its own for every use, so that a TRY may stand in the argument of another.
#define COPPICE_JOIN_(a, b) COPPICE_JOIN2_(a, b)
#define COPPICE_JOIN2_(a, b) a##b
#define COPPICE_TRY_(result, expression, with_doing)                               \
    ({                                                                             \
        auto result = (expression);                                                \
        if (!result) return ::coppice::fail(std::move(result).error() with_doing); \
        ::coppice::detail::take(result);                                           \
    })
