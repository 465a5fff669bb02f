#pragma once

#include "coppice/base/result.h"

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

/// Errors on the wire: RFC 9457 problem details, `application/problem+json`.
namespace coppice::api {

inline constexpr std::string_view kProblemType = "application/problem+json";

/// An error with what HTTP adds to it. Kind, message and hint of the error survive both ways: `type` is
/// urn:coppice:error:WORD with one word per kind, `detail` the message, `hint` (a member of ours) the hint.
struct Problem {
    Error error;
    int status = 500;    ///< HTTP status
    std::string request; ///< id of the request, to be found in the daemon's log; may be empty

    explicit Problem(Error of);
    /// With another status than the kind's own, such as 412 for a Conflict.
    Problem(int http_status, Error of) : error{std::move(of)}, status{http_status} {}
};

nlohmann::json to_json(const Problem& problem);

/// The error in the body of a reply whose status says that there is one. Bodies of somebody else (a proxy) become an
/// error that names the status.
Error error_of(int status, std::string_view body);

/// The kind's word, as in the type URI: "not-found".
std::string_view word_of(ErrorKind kind);
int status_of(ErrorKind kind);

} // namespace coppice::api
