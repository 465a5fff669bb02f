#include "coppice/api/problem.h"

#include "coppice/base/json.h"
#include "coppice/base/text.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

namespace coppice::api {

namespace {

constexpr std::string_view kPrefix = "urn:coppice:error:";

struct Row {
    ErrorKind kind;
    std::string_view word, title;
    int status;
};
constexpr std::array<Row, 11> kRows{{
    {ErrorKind::NotFound, "not-found", "Not found", 404},
    {ErrorKind::Denied, "denied", "Not allowed", 403},
    {ErrorKind::Conflict, "conflict", "In conflict with what is there", 409},
    {ErrorKind::Corrupt, "corrupt", "Content is not what it claims to be", 500},
    {ErrorKind::Unavailable, "unavailable", "Not available now", 503},
    {ErrorKind::Unsupported, "unsupported", "Not supported here", 501},
    {ErrorKind::Invalid, "invalid", "The request is wrong", 400},
    {ErrorKind::Gone, "gone", "The other end has ended", 502},
    {ErrorKind::CommandNotFound, "command-not-found", "The command does not exist", 400},
    {ErrorKind::CommandNotExecutable, "command-not-executable", "The command cannot be executed", 400},
    {ErrorKind::Os, "system", "A system call failed", 500},
}};

const Row& row_of(ErrorKind kind)
{
    const auto* const row = std::find_if(kRows.begin(), kRows.end(), [&](const Row& r) { return r.kind == kind; });
    COPPICE_CHECK(row != kRows.end());
    return *row;
}

/// Of a status that nobody explained.
ErrorKind kind_of_status(int status)
{
    switch (status) {
    case 401:
    case 403: return ErrorKind::Denied;
    case 404: return ErrorKind::NotFound;
    case 409:
    case 412: return ErrorKind::Conflict;
    case 501: return ErrorKind::Unsupported;
    case 502: return ErrorKind::Gone;
    case 408:
    case 429:
    case 503:
    case 504: return ErrorKind::Unavailable;
    default: return status >= 400 && status < 500 ? ErrorKind::Invalid : ErrorKind::Os;
    }
}

} // namespace

Problem::Problem(Error of) : error{std::move(of)}, status{status_of(error.kind())} {}

std::string_view word_of(ErrorKind kind) { return row_of(kind).word; }

int status_of(ErrorKind kind) { return row_of(kind).status; }

nlohmann::json to_json(const Problem& problem)
{
    const Row& row = row_of(problem.error.kind());
    nlohmann::json document{{"type", cat(kPrefix, row.word)},
                            {"title", row.title},
                            {"status", problem.status},
                            {"detail", problem.error.message()}};
    if (!problem.error.hint_text().empty()) document["hint"] = problem.error.hint_text();
    if (!problem.request.empty()) document["instance"] = cat("urn:coppice:request:", problem.request);
    return document;
}

Error error_of(int status, std::string_view body)
{
    const Error unknown{kind_of_status(status), cat("the daemon answered with HTTP status ", status)};
    const auto document = parse_json(body);
    if (!document || !document->is_object()) return unknown;
    const JsonNode node{*document};
    const auto type = node.text_or("type", "");
    const auto detail = node.text_or("detail", "");
    const auto hint = node.text_or("hint", "");
    if (!type || !detail || !hint || !type->starts_with(kPrefix)) return unknown;
    const auto word = std::string_view{*type}.substr(kPrefix.size());
    const auto* const row = std::find_if(kRows.begin(), kRows.end(), [&](const Row& r) { return r.word == word; });
    Error error{row == kRows.end() ? unknown.kind() : row->kind, *detail};
    return hint->empty() ? error : std::move(error).hint(*hint);
}

} // namespace coppice::api
