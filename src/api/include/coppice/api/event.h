#pragma once

#include "coppice/base/result.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace coppice::api {

/// Something that happened in the daemon. Ids grow, also from one life of the daemon to the next.
struct Event {
    std::uint64_t id = 0;
    std::string time;    ///< RFC 3339, UTC
    std::string type;    ///< "operation.started"; "events.lost" when what lies before cannot be told any more
    std::string subject; ///< path of the resource, such as /v1/operations/ID; may be empty
    nlohmann::json data;
};

nlohmann::json to_json(const Event& event);
/// Errors: Invalid, naming the member
Result<Event> parse_event(const nlohmann::json& document);

/// One event as text/event-stream has it: id, event (the type) and data (the JSON object, one line).
std::string to_event_stream(const Event& event);

} // namespace coppice::api
