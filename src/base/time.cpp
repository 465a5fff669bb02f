#include "coppice/base/time.h"

#include <array>
#include <chrono>
#include <cstdio>

namespace coppice {

void sleep_ms(long milliseconds)
{
    const timespec time{.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1'000'000};
    ::nanosleep(&time, nullptr);
}

std::string to_rfc3339(const timespec& time)
{
    // Not by gmtime: glibc's reads the time zone files first.
    using namespace std::chrono;
    const auto since_epoch = seconds{time.tv_sec};
    const auto day = floor<days>(since_epoch);
    const year_month_day date{sys_days{day}};
    const hh_mm_ss clock{since_epoch - day};
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "%04d-%02u-%02uT%02d:%02d:%02d.%09ldZ", static_cast<int>(date.year()),
                  static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                  static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                  static_cast<int>(clock.seconds().count()), time.tv_nsec);
    return text.data();
}

} // namespace coppice
