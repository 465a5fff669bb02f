#pragma once

#include <ctime>
#include <string>

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

} // namespace coppice
