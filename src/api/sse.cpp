#include "coppice/api/sse.h"

namespace coppice::api {

Result<> EventStreamParser::feed(std::string_view bytes)
{
    if (bytes.size() > kMaxBytes || buffer_.size() + data_.size() > kMaxBytes - bytes.size())
        return fail(ErrorKind::Invalid, "a message of the event stream is longer than 1 MiB");
    buffer_ += bytes;
    return {};
}

std::optional<EventStreamParser::Message> EventStreamParser::next()
{
    std::size_t begin = 0;
    std::optional<Message> message;
    while (!message) {
        const auto end = buffer_.find('\n', begin);
        if (end == std::string::npos) break;
        std::string_view line{buffer_.data() + begin, end - begin};
        begin = end + 1;
        if (line.ends_with('\r')) line.remove_suffix(1);
        if (line.empty()) {
            if (has_data_) message = Message{.id = id_, .data = std::move(data_)};
            data_.clear();
            has_data_ = false;
            continue;
        }
        const auto colon = line.find(':');
        const auto field = line.substr(0, colon);
        auto value = colon == std::string_view::npos ? std::string_view{} : line.substr(colon + 1);
        if (value.starts_with(' ')) value.remove_prefix(1);
        if (field == "data") {
            if (has_data_) data_ += '\n';
            data_ += value;
            has_data_ = true;
        } else if (field == "id" && value.find('\0') == std::string_view::npos) {
            id_ = value;
        }
    }
    buffer_.erase(0, begin);
    return message;
}

} // namespace coppice::api
