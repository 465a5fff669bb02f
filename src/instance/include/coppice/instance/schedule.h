#pragma once

#include "coppice/base/result.h"

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

/// When snapshots of an instance are made by themselves.
namespace coppice::instance {

struct SnapshotSchedule {
    std::string name;         ///< "hourly", or a time as "15m"; its snapshots are marked with it
    std::int64_t seconds = 0; ///< between two; 0: as the calendar of this machine has it
    std::size_t keep = 1;     ///< so many of the latest stay
    bool operator==(const SnapshotSchedule&) const = default;
};

/// "hourly:24,daily:7": minutely, hourly, daily, weekly, monthly, or a time of whole seconds as 15m, each with the
/// number that are kept, 1 to 1000. Errors: Invalid
Result<std::vector<SnapshotSchedule>> parse_schedules(std::string_view text);
std::string to_text(const std::vector<SnapshotSchedule>& schedules);

/// The last moment, at `at` or before, at which one is due: hours, days, weeks (on Mondays) and months begin as they do
/// in the time zone of this machine, times are counted from 1970 on.
std::time_t latest_due(const SnapshotSchedule& schedule, std::time_t at);
/// The first one behind `at`.
std::time_t next_due(const SnapshotSchedule& schedule, std::time_t at);

} // namespace coppice::instance
