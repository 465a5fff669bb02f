#include "coppice/daemon/routes.h"

#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/base/units.h"
#include "host.h"
#include "openapi.h"

#include <algorithm>
#include <unistd.h>

namespace coppice::daemon {

namespace {

constexpr int kApiVersion = 1;
constexpr std::size_t kEventsAtOnce = 256;
constexpr std::int64_t kWaitSeconds = 30, kWaitMostSeconds = 60;

std::string etag_of(const api::Operation& operation) { return cat('"', operation.id, '-', operation.version, '"'); }

Reply reply_with(const api::Operation& operation) { return Reply::json(api::to_json(operation), etag_of(operation)); }

Error no_operation(const std::string& id)
{
    return Error{ErrorKind::NotFound, cat("there is no operation ", id)}.hint("see: coppice operation ls");
}

Result<Reply> get_server(Services& services)
{
    auto counts = nlohmann::json::object();
    for (const auto& operation : services.operations.list()) {
        auto& count = counts[std::string{api::word_of(operation.state)}];
        count = count.is_null() ? 1 : count.get<int>() + 1;
    }
    return Reply::json({{"name", "coppiced"},
                        {"version", services.version},
                        {"api_version", kApiVersion},
                        {"pid", ::getpid()},
                        {"root", services.root},
                        {"started", to_rfc3339(services.started)},
                        {"uptime_seconds", std::max<std::int64_t>(now().tv_sec - services.started.tv_sec, 0)},
                        {"kernel", services.host.kernel},
                        {"cgroups", services.host.cgroups},
                        {"features", feature_switches(services.host)},
                        {"operations", std::move(counts)}});
}

Result<Reply> get_openapi()
{
    Reply reply;
    reply.raw = kOpenApi;
    reply.etag = kOpenApiEtag;
    return reply;
}

Result<Reply> list_operations(Services& services, const Request& request)
{
    std::optional<api::OperationState> wanted;
    if (const auto word = request.query.find("state"); word != request.query.end())
        wanted = TRY(api::parse_state(word->second));
    auto list = nlohmann::json::array();
    for (const auto& operation : services.operations.list())
        if (!wanted || *wanted == operation.state) list.push_back(api::summary_json(operation));
    return Reply::json(std::move(list));
}

Result<Reply> get_operation(Services& services, const Request& request)
{
    const auto operation = services.operations.find(request.param("id"));
    if (!operation) return fail(no_operation(request.param("id")));
    return reply_with(*operation);
}

Result<Reply> wait_for_operation(Services& services, const Request& request)
{
    const std::string id = request.param("id");
    const auto seconds = TRY(request.query_integer("timeout", 0, kWaitMostSeconds, kWaitSeconds));
    const auto after = TRY(request.query_integer("after", 0, INT64_MAX, INT64_MAX));
    const auto is_it = [id, after](const api::Operation& operation) {
        return operation.id == id &&
               (api::is_over(operation.state) || operation.version > static_cast<std::uint64_t>(after));
    };
    const auto operation = services.operations.find(id);
    if (!operation) return fail(no_operation(id));
    if (is_it(*operation) || seconds == 0) return reply_with(*operation);
    Reply reply;
    reply.later = Later{.timeout = std::chrono::seconds{seconds},
                        .subscribe =
                            [&services, id, is_it](const std::function<void()>& wake) {
                                auto watching = services.operations.watch([is_it, wake](const api::Operation& changed) {
                                    if (is_it(changed)) wake();
                                });
                                const auto since = services.operations.find(id); // it may have happened since we looked
                                if (!since || is_it(*since)) wake();
                                return watching;
                            },
                        .finish =
                            [&services, id] {
                                const auto now_is = services.operations.find(id);
                                return now_is ? reply_with(*now_is) : Reply::problem(api::Problem{no_operation(id)});
                            }};
    return reply;
}

Result<Reply> cancel_operation(Services& services, const Request& request)
{
    const auto before = services.operations.find(request.param("id"));
    if (!before) return fail(no_operation(request.param("id")));
    if (auto refused = check_preconditions(request, etag_of(*before))) return *std::move(refused);
    const auto operation = TRY(services.operations.cancel(request.param("id")));
    return reply_with(operation);
}

/// A consumer of the events: where it is, and whether it was told so.
class Follower {
public:
    Follower(EventHub& events, std::uint64_t after, bool resumes) : events_{events}, after_{after}, resumes_{resumes} {}

    Stream::Piece take()
    {
        const auto batch = events_.after(after_, kEventsAtOnce);
        Stream::Piece piece;
        for (const auto& event : batch.events)
            piece.bytes += api::to_event_stream(event);
        if (!batch.events.empty()) after_ = batch.events.back().id;
        // At the beginning it may have been away for long; later it can only be too slow.
        piece.is_last = batch.lost && !resumes_;
        resumes_ = false;
        return piece;
    }

private:
    EventHub& events_;
    std::uint64_t after_;
    bool resumes_;
};

Result<Reply> follow_events(Services& services, const Request& request)
{
    const bool resumes = !request.last_event_id.empty();
    auto after = services.events.last_id();
    if (resumes)
        after = static_cast<std::uint64_t>(
            TRY_DOING("Last-Event-ID", parse_integer(request.last_event_id, 0, INT64_MAX - 1)));
    const auto follower = std::make_shared<Follower>(services.events, after, resumes);
    Reply reply;
    reply.type = "text/event-stream";
    reply.stream =
        Stream{.subscribe = [&services](std::function<void()> wake) { return services.events.watch(std::move(wake)); },
               .take = [follower] { return follower->take(); }};
    return reply;
}

Result<Reply> shut_down(Services& services)
{
    const auto operations = services.operations.list();
    const auto unfinished = std::count_if(operations.begin(), operations.end(),
                                          [](const auto& operation) { return !api::is_over(operation.state); });
    services.stop();
    return Reply::json({{"unfinished_operations", unfinished}});
}

} // namespace

Reply accepted(const api::Operation& operation)
{
    Reply reply = reply_with(operation);
    reply.status = 202;
    reply.headers["Location"] = cat("/v1/operations/", operation.id);
    return reply;
}

std::vector<Route> own_routes(Services& services)
{
    const auto route = [&services](Method method, std::string path, std::string id, Verb verb,
                                   Result<Reply> (*handler)(Services&, const Request&)) {
        return Route{.method = method,
                     .path = std::move(path),
                     .id = std::move(id),
                     .verb = verb,
                     .body_schema = "",
                     .handler = [&services, handler](const Request& request) { return handler(services, request); }};
    };
    using enum Method;
    std::vector<Route> routes{
        route(Get, "/v1", "getServer", Verb::Read, [](Services& s, const Request&) { return get_server(s); }),
        route(Get, "/v1/openapi.json", "getOpenApi", Verb::Read,
              [](Services&, const Request&) { return get_openapi(); }),
        route(Get, "/v1/events", "followEvents", Verb::Read, follow_events),
        route(Get, "/v1/operations", "listOperations", Verb::Read, list_operations),
        route(Get, "/v1/operations/{id}", "getOperation", Verb::Read, get_operation),
        route(Get, "/v1/operations/{id}/wait", "waitForOperation", Verb::Read, wait_for_operation),
        route(Delete, "/v1/operations/{id}", "cancelOperation", Verb::Change, cancel_operation),
        route(Get, "/v1/system/doctor", "examineHost", Verb::Read,
              [](Services& s, const Request&) -> Result<Reply> {
                  auto report = TRY(doctor_report(s.host, s.root));
                  return Reply::json(std::move(report));
              }),
        route(Post, "/v1/system/shutdown", "shutDown", Verb::Administer,
              [](Services& s, const Request&) { return shut_down(s); }),
    };
    for (Route& each : routes) {
        if (each.id == "followEvents") each.type = "text/event-stream";
        if (each.id == "listOperations") each.query = {"state"};
        if (each.id == "waitForOperation") each.query = {"after", "timeout"};
        each.conditional = each.id == "cancelOperation";
    }
    return routes;
}

} // namespace coppice::daemon
