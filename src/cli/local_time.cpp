#include "local_time.h"

#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/base/units.h"

#include <array>

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

void drop_fraction(std::string_view& rest)
{
    if (!rest.starts_with('.')) return;
    const auto end = rest.find_first_not_of("0123456789", 1);
    if (end != 1 && rest.size() > 1) rest.remove_prefix(std::min(end, rest.size()));
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

std::optional<std::time_t> parse_rfc3339(std::string_view text)
{
    std::tm fields{};
    const std::string own{text};
    auto rest = read_fields(own, "%Y-%m-%dT%H:%M:%S", fields);
    if (!rest) return {};
    drop_fraction(*rest);
    const auto offset = offset_of(*rest);
    if (!offset) return {};
    std::tm settled = fields;
    const std::time_t time = ::timegm(&settled);
    if (!is_same(settled, fields)) return {};
    return time - *offset;
}

std::string local_time(std::string_view rfc3339)
{
    const auto time = parse_rfc3339(rfc3339);
    std::tm fields{};
    if (!time || ::localtime_r(&*time, &fields) == nullptr) return std::string{rfc3339};
    std::array<char, 32> text{};
    return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M", &fields)};
}

Result<std::string> parse_moment(std::string_view text, std::time_t from)
{
    std::optional<std::time_t> time;
    if (text.starts_with('+'))
        time = from + TRY(parse_duration_ms(text.substr(1))) / 1000;
    else
        time = parse_rfc3339(text);
    if (!time) time = parse_local(std::string{text});
    if (!time)
        return fail(ErrorKind::Invalid,
                    cat('\'', text, "' is no time: use 2026-12-01T04:00:00Z, \"2026-12-01 04:00\" or +2h"));
    constexpr std::time_t kLast = 253'402'300'799; // the year 9999, where RFC 3339 ends
    if (*time < 0 || *time > kLast) return fail(ErrorKind::Invalid, cat('\'', text, "' is too far away"));
    return to_rfc3339({.tv_sec = *time, .tv_nsec = 0});
}

} // namespace coppice::cli
