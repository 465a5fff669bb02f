#include "coppice/base/time.h"

#include "coppice/base/text.h"
#include "coppice/base/units.h"

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <optional>

namespace coppice {

namespace {
constexpr long kNanoseconds = 1'000'000'000;
} // namespace

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

namespace {

/// Takes ".123" off `rest`, as nanoseconds; what is behind the ninth digit is dropped.
std::optional<long> take_fraction(std::string_view& rest)
{
    if (!rest.starts_with('.')) return 0;
    rest.remove_prefix(1);
    const auto digits = rest.substr(0, rest.find_first_not_of("0123456789"));
    rest.remove_prefix(digits.size());
    if (digits.empty()) return {};
    long sum = 0, unit = kNanoseconds;
    for (const char digit : digits)
        sum += (digit - '0') * (unit /= 10);
    return sum;
}

/// "Z", "+02:00": seconds east of UTC.
std::optional<long> offset_of(std::string_view text)
{
    if (text == "Z" || text == "z") return 0;
    if (text.size() != 6 || (text[0] != '+' && text[0] != '-') || text[3] != ':') return {};
    const auto hours = parse_integer(text.substr(1, 2), 0, 23);
    const auto minutes = parse_integer(text.substr(4), 0, 59);
    if (!hours || !minutes) return {};
    const long seconds = static_cast<long>(*hours) * 3600 + static_cast<long>(*minutes) * 60;
    return text[0] == '-' ? -seconds : seconds;
}

std::optional<timespec> read_rfc3339(const std::string& text)
{
    std::tm fields{};
    const char* const end = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &fields);
    if (end == nullptr) return {};
    std::string_view rest{end};
    const auto fraction = take_fraction(rest);
    const auto offset = offset_of(rest);
    if (!fraction || !offset) return {};
    std::tm settled = fields;
    const std::time_t seconds = ::timegm(&settled) - *offset;
    // timegm turns the 31st of February into one of March.
    if (settled.tm_mday != fields.tm_mday || settled.tm_mon != fields.tm_mon || seconds < 0 ||
        seconds >= INT64_MAX / kNanoseconds)
        return {};
    return timespec{.tv_sec = seconds, .tv_nsec = *fraction};
}

} // namespace

Result<timespec> parse_rfc3339(std::string_view text)
{
    if (const auto time = read_rfc3339(std::string{text})) return *time;
    return fail(ErrorKind::Invalid, cat("'", printable(text), "' is no time such as 2026-01-31T08:15:00Z"));
}

} // namespace coppice
