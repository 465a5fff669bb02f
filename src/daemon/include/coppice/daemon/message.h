#pragma once

#include "coppice/api/problem.h"
#include "coppice/daemon/access.h"
#include "coppice/os/fd.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

/// Requests and replies as handlers see them: no sockets, no HTTP library.
namespace coppice::daemon {

enum class Method : std::uint8_t { Get, Post, Put, Patch, Delete };
std::string_view word_of(Method method);

struct Request {
    Method method = Method::Get;
    std::string path;                          ///< decoded
    std::map<std::string, std::string> query;  ///< decoded
    std::map<std::string, std::string> params; ///< what the {names} of the route's template stand for, decoded
    nlohmann::json body;                       ///< null when there is none
    Identity identity;
    std::string id;                                                      ///< of the request
    std::string idempotency_key, if_match, if_none_match, last_event_id; ///< header fields; empty when absent
    bool wants_link = false;                                             ///< "Upgrade: coppice-link"
    std::stop_token stop; ///< set when nobody waits for the answer any more: long work may end with any error

    [[nodiscard]] const std::string& param(const std::string& name) const;
    /// A query parameter. Errors: Invalid (not a whole number in [least, most])
    [[nodiscard]] Result<std::int64_t> query_integer(const std::string& name, std::int64_t least, std::int64_t most,
                                                     std::int64_t otherwise) const;
    /// Errors: Invalid (absent or empty)
    [[nodiscard]] Result<std::string> query_text(const std::string& name) const;
    /// "true" or "false"; absent: false. Errors: Invalid
    [[nodiscard]] Result<bool> query_boolean(const std::string& name) const;
};

struct Reply;

/// An answer that is not known yet: nobody's thread waits for it.
struct Later {
    std::chrono::milliseconds timeout;
    /// Called once, when the request has been taken: keeps `wake` until what is waited for happens, and calls it then.
    /// It may be called more than once, from any thread, also within `subscribe`. What comes back ends the waiting
    /// when it is destroyed.
    std::function<std::shared_ptr<void>(std::function<void()> wake)> subscribe;
    std::function<Reply()> finish; ///< the answer, as things are after `wake` or the timeout. On a worker thread.
};

/// An answer without an end: text/event-stream.
struct Stream {
    /// As in Later; `wake` says that `take` has something.
    std::function<std::shared_ptr<void>(std::function<void()> wake)> subscribe;
    /// What is to be sent now; may be empty. On the I/O thread; must not block.
    struct Piece {
        std::string bytes;
        bool is_last = false;
    };
    std::function<Piece()> take;
};

struct Reply {
    int status = 200;
    nlohmann::json body; ///< null: no body
    std::string etag;    ///< with its quotes; empty: none
    std::map<std::string, std::string> headers;
    std::string raw; ///< a ready document in the place of `body`
    std::string type = "application/json";
    std::shared_ptr<const os::Fd> file; ///< a file from its beginning, in the place of `body`; nobody changes it
    /// A socket of ours that the client gets, with 101: the connection ends with that. For clients on this machine.
    std::shared_ptr<const os::Fd> link;
    std::optional<Later> later;   ///< then the rest counts for nothing
    std::optional<Stream> stream; ///< then `body` counts for nothing

    static Reply json(nlohmann::json body, std::string etag = {});
    static Reply problem(api::Problem problem);
};

/// What to answer when the header fields If-Match and If-None-Match speak against going on: 412 or 304.
/// @param etag of what is there now, with its quotes; empty: it is not there
std::optional<Reply> check_preconditions(const Request& request, const std::string& etag);

/// Whether a header's list of entity tags ("*", or tags separated by commas) names `etag`.
/// @param weak compare weakly: W/"x" is "x". Source: RFC 9110, 8.8.3.2
bool lists_etag(std::string_view list, std::string_view etag, bool weak);

} // namespace coppice::daemon
