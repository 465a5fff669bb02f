#pragma once

#include "coppice/base/result.h"

#include <ctime>
#include <string>
#include <string_view>

namespace coppice {

/// Wall-clock time, CLOCK_REALTIME.
inline timespec now()
{
    timespec ts{};
    ::clock_gettime(CLOCK_REALTIME, &ts);
    return ts;
}

/// Does nothing for so long; a signal may end it sooner.
void sleep_ms(long milliseconds);

/// RFC 3339 with nanoseconds in UTC, for example 2026-01-31T08:15:00.000000001Z.
std::string to_rfc3339(const timespec& time);
/// RFC 3339 as UTC or with an offset, from 1970 to 2261; digits behind the ninth of a fraction are dropped.
/// Errors: Invalid
Result<timespec> parse_rfc3339(std::string_view text);

} // namespace coppice
