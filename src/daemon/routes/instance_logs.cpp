#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/instance/log_reader.h"
#include "storage.h"

namespace coppice::daemon {

namespace {

constexpr std::int64_t kLines = 1000, kLinesMost = 100'000;
constexpr std::size_t kTextMost = 4U << 20;

/// The newest of it, in whole lines.
void shorten(std::string& text)
{
    if (text.size() <= kTextMost) return;
    const auto end = text.find('\n', text.size() - kTextMost);
    text.erase(0, end == std::string::npos ? text.size() - kTextMost : end + 1);
}

Result<std::string> time_of(const Request& request, const std::string& name)
{
    const auto found = request.query.find(name);
    if (found == request.query.end()) return std::string{};
    return with_context(instance::parse_log_time(found->second, now()), cat("query parameter ", name));
}

Result<instance::LogQuery> query_of(const Request& request)
{
    instance::LogQuery query;
    query.since = TRY(time_of(request, "since"));
    query.until = TRY(time_of(request, "until"));
    query.tail = static_cast<std::uint64_t>(TRY(request.query_integer("tail", 0, kLinesMost, kLines)));
    return query;
}

Result<Reply> get_log(const StorageApiPtr& api, const Request& request)
{
    const bool with_times = TRY(request.query_boolean("timestamps"));
    auto query = TRY(query_of(request));
    const auto store = TRY(instance::InstanceStore::look(api->services.root));
    const auto directory = TRY(store.find_directory(request.param("name")));
    auto reader = TRY(instance::LogReader::open(directory.get(), std::move(query)));
    Reply reply;
    reply.type = "text/plain";
    TRY(reader.read([&](const instance::LogPiece& piece) -> Result<> {
        if (request.stop.stop_requested()) return fail(ErrorKind::Gone, "nobody waits for the log any more");
        append_piece(reply.raw, piece, with_times);
        if (reply.raw.size() > 2 * kTextMost) shorten(reply.raw);
        return {};
    }));
    shorten(reply.raw);
    return reply;
}

} // namespace

std::vector<StorageRow> instance_log_rows()
{
    return {{.method = Method::Get,
             .path = "/v1/instances/{name}/logs",
             .id = "getInstanceLog",
             .body_schema = "",
             .handler = get_log,
             .type = "text/plain",
             .query = {"since", "until", "tail", "timestamps"}}};
}

} // namespace coppice::daemon
