#pragma once

#include "coppice/base/result.h"

#include <optional>
#include <string>
#include <string_view>

namespace coppice::api {

/// Cuts a text/event-stream into messages, however it arrives in pieces. Source: WHATWG HTML, "Server-sent events"
class EventStreamParser {
public:
    struct Message {
        std::string id;   ///< of the last message that had one
        std::string data; ///< lines joined by line feeds
    };
    /// Longest message, in bytes, that is taken.
    static constexpr std::size_t kMaxBytes = 1U << 20;

    /// Errors: Invalid (longer than kMaxBytes)
    Result<> feed(std::string_view bytes);
    /// The next complete message that has data.
    std::optional<Message> next();

private:
    std::string buffer_, data_, id_;
    bool has_data_ = false;
};

} // namespace coppice::api
