#include "coppice/daemon/message.h"

#include "coppice/base/text.h"
#include "coppice/base/units.h"

#include <array>

namespace coppice::daemon {

std::string_view word_of(Method method)
{
    constexpr std::array<std::string_view, 5> kWords{"GET", "POST", "PUT", "PATCH", "DELETE"};
    return kWords.at(static_cast<std::size_t>(method));
}

const std::string& Request::param(const std::string& name) const
{
    const auto found = params.find(name);
    COPPICE_CHECK(found != params.end());
    return found->second;
}

Result<std::string> Request::query_text(const std::string& name) const
{
    const auto found = query.find(name);
    if (found != query.end() && !found->second.empty()) return found->second;
    return fail(ErrorKind::Invalid, cat("the query parameter ", name, " is missing"));
}

Result<bool> Request::query_boolean(const std::string& name) const
{
    const auto found = query.find(name);
    if (found == query.end() || found->second == "false") return false;
    if (found->second == "true") return true;
    return fail(ErrorKind::Invalid, cat("query parameter ", name, ": true or false is wanted"));
}

Result<std::int64_t> Request::query_integer(const std::string& name, std::int64_t least, std::int64_t most,
                                            std::int64_t otherwise) const
{
    const auto found = query.find(name);
    if (found == query.end()) return otherwise;
    return with_context(parse_integer(found->second, least, most), cat("query parameter ", name));
}

Reply Reply::json(nlohmann::json body, std::string etag)
{
    Reply reply;
    reply.body = std::move(body);
    reply.etag = std::move(etag);
    return reply;
}

Reply Reply::problem(api::Problem problem)
{
    Reply reply;
    reply.status = problem.status;
    reply.body = api::to_json(problem);
    reply.type = api::kProblemType;
    return reply;
}

bool lists_etag(std::string_view list, std::string_view etag, bool weak)
{
    const auto trim = [](std::string_view text) {
        while (text.starts_with(' ') || text.starts_with('\t'))
            text.remove_prefix(1);
        while (text.ends_with(' ') || text.ends_with('\t'))
            text.remove_suffix(1);
        return text;
    };
    if (trim(list) == "*") return !etag.empty();
    while (!list.empty()) {
        // Tags may hold commas, but between quotes.
        list = trim(list);
        const bool is_weak = list.starts_with("W/");
        const auto open = list.find('"');
        const auto close = open == std::string_view::npos ? open : list.find('"', open + 1);
        if (close == std::string_view::npos || open != (is_weak ? 2U : 0U)) return false;
        const auto tag = list.substr(open, close - open + 1);
        if (tag == etag && (weak || !is_weak)) return true;
        list = trim(list.substr(close + 1));
        if (!list.starts_with(',')) return false;
        list.remove_prefix(1);
    }
    return false;
}

std::optional<Reply> check_preconditions(const Request& request, const std::string& etag)
{
    if (!request.if_match.empty() && !lists_etag(request.if_match, etag, false)) {
        Error error{ErrorKind::Conflict,
                    cat(request.path, etag.empty() ? " does not exist" : " has been changed since it was looked at")};
        return Reply::problem({412, std::move(error).hint("look at it again, then repeat with its ETag of now")});
    }
    if (request.if_none_match.empty() || !lists_etag(request.if_none_match, etag, true)) return std::nullopt;
    if (request.method != Method::Get) {
        Error error{ErrorKind::Conflict, cat(request.path, " exists already")};
        return Reply::problem({412, std::move(error)});
    }
    Reply reply;
    reply.status = 304;
    reply.etag = etag;
    return reply;
}

} // namespace coppice::daemon
