#pragma once

#include "coppice/daemon/idempotency.h"
#include "coppice/daemon/router.h"

#include <string>
#include <string_view>

namespace coppice::daemon {

/// An HTTP request as it came, parsed but not judged.
struct RawRequest {
    std::string method, target, body;
    std::string accept, content_type, idempotency_key, if_match, if_none_match, last_event_id, request_id; ///< headers
    bool wants_link = false; ///< this and the next two: see Request
    Identity identity;
    std::stop_token stop;
};

/// From a raw request to a reply: method, target, rights, what the client accepts and sends, idempotency, handler,
/// preconditions, and problem details for whatever fails. Knows nothing of connections. Any thread; blocks as the
/// handlers do.
class Dispatcher {
public:
    Dispatcher(std::vector<Route> routes, AnswerStore& answers, IdempotentRequests::IsLost is_lost)
        : router_{std::move(routes)}, idempotent_{answers, std::move(is_lost)}
    {
    }

    /// The reply carries X-Request-Id. For HEAD it is that of GET: the caller leaves the body out.
    [[nodiscard]] Reply handle(const RawRequest& raw);
    [[nodiscard]] const Router& router() const { return router_; }

private:
    Result<Reply> judge(const RawRequest& raw, Request& request);
    Result<Reply> run(const RawRequest& raw, Request& request, const Route& route);
    Router router_;
    IdempotentRequests idempotent_;
};

} // namespace coppice::daemon
