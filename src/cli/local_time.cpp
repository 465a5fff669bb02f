#include "local_time.h"

#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/base/units.h"

#include <array>
#include <cstdint>
#include <optional>

namespace coppice::cli {

namespace {

/// Reads `text` as far as `form` goes; what is left of it, or nothing.
std::optional<std::string_view> read_fields(const std::string& text, const char* form, std::tm& fields)
{
    fields = {};
    const char* const end = ::strptime(text.c_str(), form, &fields);
    if (end == nullptr) return {};
    return std::string_view{text}.substr(static_cast<std::size_t>(end - text.c_str()));
}

/// mktime and timegm turn the 31st of February into one of March: a date is what they give back unchanged.
bool is_same(const std::tm& a, const std::tm& b)
{
    return a.tm_mday == b.tm_mday && a.tm_mon == b.tm_mon && a.tm_year == b.tm_year;
}

std::optional<std::time_t> parse_local(const std::string& text)
{
    for (const char* const form : {"%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"}) {
        std::tm fields{};
        const auto rest = read_fields(text, form, fields);
        if (!rest || !rest->empty()) continue;
        std::tm settled = fields;
        settled.tm_isdst = -1;
        const std::time_t time = std::mktime(&settled);
        if (time != -1 && is_same(settled, fields)) return time;
    }
    return {};
}

} // namespace

std::string local_time(std::string_view rfc3339)
{
    const auto time = parse_rfc3339(rfc3339);
    std::tm fields{};
    if (!time || ::localtime_r(&time->tv_sec, &fields) == nullptr) return std::string{rfc3339};
    std::array<char, 32> text{};
    return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M", &fields)};
}

Result<std::string> parse_moment(std::string_view text, std::time_t from)
{
    std::optional<std::time_t> time;
    if (text.starts_with('+'))
        time = from + TRY(parse_duration_ms(text.substr(1))) / 1000;
    else if (const auto given = parse_rfc3339(text))
        time = given->tv_sec;
    if (!time) time = parse_local(std::string{text});
    if (!time)
        return fail(ErrorKind::Invalid,
                    cat('\'', text, "' is no time: use 2026-12-01T04:00:00Z, \"2026-12-01 04:00\" or +2h"));
    constexpr std::time_t kLast = INT64_MAX / 1'000'000'000; // times are counted in nanoseconds
    if (*time < 0 || *time > kLast) return fail(ErrorKind::Invalid, cat('\'', text, "' is too far away"));
    return to_rfc3339({.tv_sec = *time, .tv_nsec = 0});
}

} // namespace coppice::cli
