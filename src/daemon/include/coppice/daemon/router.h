#pragma once

#include "coppice/daemon/message.h"

#include <functional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace coppice::daemon {

/// Runs on a worker thread; may block. An error becomes problem details.
using Handler = std::function<Result<Reply>(const Request&)>;

/// One row of the API. docs/reference/openapi.json says the same; a test compares both.
struct Route {
    Method method = Method::Get;
    std::string path{};        ///< template: "/v1/operations/{id}"
    std::string id{};          ///< operationId in the document
    Verb verb = Verb::Read;    ///< what authorize() is asked
    std::string body_schema{}; ///< name of the body's schema in the document; empty: there must be no body
    bool long_running = false; ///< answers 202 with an Operation
    Handler handler{};
    std::string type = "application/json"; ///< of the answer, when it is no problem
    std::vector<std::string> query{};      ///< parameters that it takes; with others the request is refused
    bool conditional = false; ///< compares If-Match and If-None-Match with the resource's ETag; a GET always
                              ///< does, where there is one, and of others the request is refused with them
};

/// What a request line asks for, decoded. Longest target: 8 KiB.
struct Target {
    std::vector<std::string> segments; ///< of the path
    std::map<std::string, std::string> query;
    [[nodiscard]] std::string path() const;
};
/// Errors: Invalid (not absolute, too long, a bad percent sign, a NUL or control character, an empty segment, "." or
/// "..", a query parameter twice). An encoded slash is part of its segment.
Result<Target> parse_target(std::string_view target);

class Router {
public:
    /// Templates must begin with a slash, and no two rows may fit one request: that is checked here and aborts.
    explicit Router(std::vector<Route> routes);

    struct Match {
        const Route* route;
        std::map<std::string, std::string> params;
    };
    struct NoSuchPath {};
    struct OtherMethods {
        std::vector<Method> allowed;
    };
    [[nodiscard]] std::variant<Match, NoSuchPath, OtherMethods> find(Method method, const Target& target) const;
    /// Methods that the path of a target has; empty when there is no such path.
    [[nodiscard]] std::vector<Method> methods_of(const Target& target) const;

    [[nodiscard]] const std::vector<Route>& routes() const { return routes_; }

private:
    std::vector<Route> routes_;
    std::vector<std::vector<std::string>> templates_; ///< segments of each route's path
};

} // namespace coppice::daemon
