#include "coppice/api/event.h"

#include "coppice/base/json.h"
#include "coppice/base/json_text.h"
#include "coppice/base/text.h"

namespace coppice::api {

nlohmann::json to_json(const Event& event)
{
    return {
        {"id", event.id}, {"time", event.time}, {"type", event.type}, {"subject", event.subject}, {"data", event.data}};
}

Result<Event> parse_event(const nlohmann::json& document)
{
    const JsonNode node{document};
    Event event;
    event.id = TRY(TRY(node.get("id")).unsigned_integer());
    event.time = TRY(TRY(node.get("time")).text());
    event.type = TRY(TRY(node.get("type")).text());
    event.subject = TRY(node.text_or("subject", ""));
    if (const auto data = TRY(node.find("data"))) event.data = data->value();
    return event;
}

std::string to_event_stream(const Event& event)
{
    // dump writes no line breaks, and types are words of ours: nothing can end a field early.
    return cat("id: ", event.id, "\nevent: ", event.type, "\ndata: ", json_text(to_json(event)), "\n\n");
}

} // namespace coppice::api
