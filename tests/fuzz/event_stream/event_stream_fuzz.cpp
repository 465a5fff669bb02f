#include "coppice/api/sse.h"

#include "coppice/base/error.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace {

std::vector<std::string> parse(std::string_view text, std::size_t piece)
{
    coppice::api::EventStreamParser parser;
    std::vector<std::string> messages;
    for (; !text.empty(); text.remove_prefix(std::min(piece, text.size()))) {
        if (!parser.feed(text.substr(0, piece))) break;
        while (const auto message = parser.next())
            messages.push_back(message->id + '\n' + message->data);
    }
    return messages;
}

} // namespace

/// Input: a text/event-stream. However it is cut into pieces, the messages are the same.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    const std::string_view text{reinterpret_cast<const char*>(data), size};
    if (size > 4096) return 0;
    COPPICE_CHECK(parse(text, size + 1) == parse(text, 3));
    return 0;
}
