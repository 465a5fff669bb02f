#pragma once

#include "coppice/base/result.h"

#include <ctime>
#include <string>
#include <string_view>

namespace coppice::cli {

/// "2026-11-21 17:33" in the local time zone; a text that is no RFC 3339 time stays as it is.
std::string local_time(std::string_view rfc3339);

/// A moment that a user names: RFC 3339, "2026-12-01 04:00" or "2026-12-01 04:00:30" (local time), or "+2h30m" from
/// `from` on. The result is RFC 3339 in UTC. Errors: Invalid
Result<std::string> parse_moment(std::string_view text, std::time_t from);

} // namespace coppice::cli
