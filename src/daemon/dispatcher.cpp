#include "coppice/daemon/dispatcher.h"

#include "coppice/base/id.h"
#include "coppice/base/json.h"
#include "coppice/base/json_text.h"
#include "coppice/base/log.h"
#include "coppice/base/text.h"

#include <algorithm>
#include <array>

namespace coppice::daemon {

namespace {

constexpr std::size_t kRequestIdMax = 64;

std::optional<Method> method_of(std::string_view word)
{
    for (const auto method : {Method::Get, Method::Post, Method::Put, Method::Patch, Method::Delete})
        if (word_of(method) == word) return method;
    return word == "HEAD" ? std::optional{Method::Get} : std::nullopt;
}

std::string allow_header(const std::vector<Method>& methods)
{
    std::string text;
    for (const Method method : methods)
        text += cat(text.empty() ? "" : ", ", word_of(method), method == Method::Get ? ", HEAD" : "");
    return text + ", OPTIONS";
}

Reply refuse(int status, ErrorKind kind, std::string message, std::string_view hint = {})
{
    Error error{kind, std::move(message)};
    return Reply::problem({status, hint.empty() ? std::move(error) : std::move(error).hint(hint)});
}

/// `media` without parameters and space, in lower case.
std::string bare(std::string_view media)
{
    std::string text;
    for (const char c : media.substr(0, media.find(';')))
        if (c != ' ' && c != '\t') text += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    return text;
}

/// Whether an Accept header allows `type`. Weights count only where they are zero.
bool accepts(std::string_view header, std::string_view type)
{
    if (header.empty()) return true;
    const std::string family = cat(type.substr(0, type.find('/')), "/*");
    while (!header.empty()) {
        const auto item = header.substr(0, header.find(','));
        header.remove_prefix(std::min(item.size() + 1, header.size()));
        const std::string media = bare(item);
        const bool excluded = item.find("q=0") != std::string_view::npos && item.find("q=0.") == std::string_view::npos;
        if (!excluded && (media == "*/*" || media == family || media == type)) return true;
    }
    return false;
}

bool is_plain(std::string_view id)
{
    return !id.empty() && id.size() <= kRequestIdMax && std::all_of(id.begin(), id.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
               c == '.';
    });
}

/// What would count for nothing is refused: whoever says it believes that it does.
std::optional<Reply> refuse_ignored(const Request& request, const Route& route)
{
    for (const auto& [name, value] : request.query)
        if (std::find(route.query.begin(), route.query.end(), name) == route.query.end())
            return refuse(400, ErrorKind::Invalid,
                          cat(word_of(route.method), ' ', request.path, " has no query parameter ", printable(name)),
                          "see /v1/openapi.json");
    if (route.conditional || route.method == Method::Get || (request.if_match.empty() && request.if_none_match.empty()))
        return std::nullopt;
    return refuse(400, ErrorKind::Invalid,
                  cat(word_of(route.method), ' ', request.path, " compares no ETag: If-Match would count for nothing"),
                  "see /v1/openapi.json");
}

/// Reads the body as the route wants it. Empty when that went well.
Result<std::optional<Reply>> read_body(const RawRequest& raw, const Route& route, Request& request)
{
    if (route.body_schema.empty()) {
        if (raw.body.empty()) return std::optional<Reply>{};
        return std::optional{refuse(400, ErrorKind::Invalid, cat(raw.method, ' ', request.path, " takes no body"))};
    }
    if (raw.body.empty())
        return std::optional{refuse(400, ErrorKind::Invalid, cat(raw.method, ' ', request.path, " needs a body"),
                                    cat("see the schema ", route.body_schema, " in /v1/openapi.json"))};
    if (bare(raw.content_type) != "application/json")
        return std::optional{
            refuse(415, ErrorKind::Invalid, "the body must be JSON", "send Content-Type: application/json")};
    request.body = TRY_DOING("the body", parse_json(raw.body));
    return std::optional<Reply>{};
}

} // namespace

Result<Reply> Dispatcher::run(const RawRequest& raw, Request& request, const Route& route)
{
    if (auto refused = refuse_ignored(request, route)) return *std::move(refused);
    if (auto refused = TRY(read_body(raw, route, request))) return *std::move(refused);
    if (request.idempotency_key.empty() || request.method == Method::Get) return route.handler(request);
    const std::string text =
        cat(raw.method, ' ', raw.target, '\n', request.body.is_null() ? "" : json_text(request.body));
    return idempotent_.run(request, text, [&] { return route.handler(request); });
}

Result<Reply> Dispatcher::judge(const RawRequest& raw, Request& request)
{
    const auto target = TRY(parse_target(raw.target));
    request.path = target.path();
    request.query = target.query;
    const auto method = method_of(raw.method);
    const auto found = method ? router_.find(*method, target) : Router::OtherMethods{router_.methods_of(target)};
    const auto* const match = std::get_if<Router::Match>(&found);
    // Before anything is told, be it that there is no such path.
    TRY(authorize(request.identity, match ? match->route->verb : Verb::Read, request.path));

    if (match == nullptr) {
        const auto methods = router_.methods_of(target);
        if (methods.empty())
            return refuse(404, ErrorKind::NotFound, cat("there is no ", request.path), "see /v1/openapi.json");
        Reply reply = raw.method == "OPTIONS" ? Reply{}
                                              : refuse(405, ErrorKind::Invalid,
                                                       cat(request.path, " has no method ", printable(raw.method)));
        if (raw.method == "OPTIONS") reply.status = 204;
        reply.headers["Allow"] = allow_header(methods);
        return reply;
    }
    if (!accepts(raw.accept, match->route->type))
        return refuse(406, ErrorKind::Invalid, cat(request.path, " is ", match->route->type), "leave Accept out");
    request.method = *method;
    request.params = match->params;
    auto reply = TRY(run(raw, request, *match->route));
    if (request.method == Method::Get && reply.status == 200 && !reply.etag.empty())
        if (auto instead = check_preconditions(request, reply.etag)) return *std::move(instead);
    return reply;
}

Reply Dispatcher::handle(const RawRequest& raw)
{
    Request request;
    request.identity = raw.identity;
    request.id = is_plain(raw.request_id) ? raw.request_id : random_hex(16);
    request.idempotency_key = raw.idempotency_key;
    request.if_match = raw.if_match;
    request.if_none_match = raw.if_none_match;
    request.last_event_id = raw.last_event_id;
    request.wants_link = raw.wants_link;
    request.stop = raw.stop;
    auto outcome = judge(raw, request);
    Reply reply = outcome ? *std::move(outcome) : Reply::problem(api::Problem{std::move(outcome).error()});
    if (reply.type == api::kProblemType && reply.body.is_object()) {
        reply.body["instance"] = cat("urn:coppice:request:", request.id);
        if (reply.status >= 500)
            log::error("api", "request failed",
                       {{"request", request.id},
                        {"asked", printable(cat(raw.method, ' ', raw.target))},
                        {"error", reply.body.value("detail", "")}});
    }
    reply.headers["X-Request-Id"] = request.id;
    log::debug("api", "request",
               {{"request", request.id},
                {"asked", printable(cat(raw.method, ' ', raw.target))},
                {"by", request.identity.text()},
                {"status", cat(reply.status)}});
    return reply;
}

} // namespace coppice::daemon
