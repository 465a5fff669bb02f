#include "coppice/instance/schedule.h"

#include "coppice/base/text.h"
#include "coppice/base/units.h"

#include <algorithm>
#include <array>

namespace coppice::instance {

namespace {

constexpr std::int64_t kMostKept = 1000, kMostSeconds = 366LL * 24 * 3600;
constexpr std::time_t kHour = 3600;
constexpr std::array<std::string_view, 5> kWords{"minutely", "hourly", "daily", "weekly", "monthly"};

Result<std::int64_t> parse_seconds(std::string_view text)
{
    const auto milliseconds = TRY(parse_duration_ms(text));
    if (milliseconds < 1000 || milliseconds % 1000 != 0 || milliseconds / 1000 > kMostSeconds)
        return fail(ErrorKind::Invalid, cat("'", text, "' is not a time of whole seconds, up to a year"));
    return milliseconds / 1000;
}

Result<SnapshotSchedule> parse_schedule(std::string_view text)
{
    const auto colon = text.find(':');
    if (colon == std::string_view::npos)
        return fail(Error{ErrorKind::Invalid, cat("'", printable(text), "' does not say how many are kept")}.hint(
            "for example hourly:24,daily:7"));
    SnapshotSchedule schedule{.name = std::string{text.substr(0, colon)}};
    if (schedule.name == "minutely")
        schedule.seconds = 60;
    else if (std::find(kWords.begin(), kWords.end(), schedule.name) == kWords.end())
        schedule.seconds = TRY(parse_seconds(schedule.name));
    schedule.keep = static_cast<std::size_t>(TRY(parse_integer(text.substr(colon + 1), 1, kMostKept)));
    return schedule;
}

/// Where the calendar's unit begins in which `at` is, or the one that is `further` units later.
std::time_t begin_of(std::string_view unit, std::time_t at, int further)
{
    std::tm local{};
    ::localtime_r(&at, &local);
    if (unit == "hourly") { // not by its fields: one hour of the year is there twice
        const std::time_t shown = at + local.tm_gmtoff;
        return at - shown % kHour + further * kHour;
    }
    constexpr int kDays = 7;
    if (unit == "daily") local.tm_mday += further;
    if (unit == "weekly") local.tm_mday += kDays * further - (local.tm_wday + kDays - 1) % kDays;
    if (unit == "monthly") {
        local.tm_mday = 1;
        local.tm_mon += further;
    }
    local.tm_hour = local.tm_min = local.tm_sec = 0;
    local.tm_isdst = -1;
    return ::mktime(&local);
}

} // namespace

Result<std::vector<SnapshotSchedule>> parse_schedules(std::string_view text)
{
    std::vector<SnapshotSchedule> all;
    if (text.empty()) return all;
    for (const std::string_view part : split(text, ',')) {
        auto schedule = TRY(parse_schedule(part));
        if (std::any_of(all.begin(), all.end(), [&](const auto& one) { return one.name == schedule.name; }))
            return fail(ErrorKind::Invalid, cat("schedule ", schedule.name, " is there twice"));
        all.push_back(std::move(schedule));
    }
    return all;
}

std::string to_text(const std::vector<SnapshotSchedule>& schedules)
{
    std::string text;
    for (const SnapshotSchedule& one : schedules)
        text += cat(text.empty() ? "" : ",", one.name, ':', one.keep);
    return text;
}

std::time_t latest_due(const SnapshotSchedule& schedule, std::time_t at)
{
    return schedule.seconds > 0 ? at - at % schedule.seconds : begin_of(schedule.name, at, 0);
}

std::time_t next_due(const SnapshotSchedule& schedule, std::time_t at)
{
    return schedule.seconds > 0 ? latest_due(schedule, at) + schedule.seconds : begin_of(schedule.name, at, 1);
}

} // namespace coppice::instance
