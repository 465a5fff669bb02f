#include "coppice/base/time.h"

#include "coppice/base/text.h"

#include <array>
#include <chrono>
#include <cstdint>
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

Result<timespec> parse_rfc3339(std::string_view text)
{
    constexpr std::size_t kSecondsEnd = 19;
    constexpr std::int64_t kBillion = 1'000'000'000;
    std::tm parts{};
    timespec time{};
    const char* end = nullptr;
    const std::string whole{text.substr(0, kSecondsEnd)};
    bool good = text.size() > kSecondsEnd && text.back() == 'Z';
    if (good) end = ::strptime(whole.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
    good = end != nullptr && *end == '\0';
    if (good) time.tv_sec = ::timegm(&parts);
    if (good && text[kSecondsEnd] == '.') {
        const auto digits = text.substr(kSecondsEnd + 1, text.size() - kSecondsEnd - 2);
        good = !digits.empty() && digits.size() <= 9;
        long unit = kBillion;
        for (const char c : digits) {
            good = good && c >= '0' && c <= '9';
            time.tv_nsec += (c - '0') * (unit /= 10);
        }
    } else {
        good = good && text.size() == kSecondsEnd + 1;
    }
    // Normalised dates, such as the 31st of February, do not come out as they went in.
    good = good && time.tv_sec >= 0 && time.tv_sec < INT64_MAX / kBillion &&
           to_rfc3339(time).substr(0, kSecondsEnd) == text.substr(0, kSecondsEnd);
    if (good) return time;
    return fail(ErrorKind::Invalid, cat("'", printable(text), "' is no time such as 2026-01-31T08:15:00Z"));
}

} // namespace coppice
