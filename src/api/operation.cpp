#include "coppice/api/operation.h"

#include "coppice/api/problem.h"
#include "coppice/base/json.h"
#include "coppice/base/json_text.h"
#include "coppice/base/text.h"

#include <algorithm>
#include <array>

namespace coppice::api {

namespace {

constexpr std::array<std::string_view, 6> kWords{"pending", "running",   "succeeded",
                                                 "failed",  "cancelled", "interrupted"};

nlohmann::json null_when_empty(const std::string& text)
{
    return text.empty() ? nlohmann::json{} : nlohmann::json(text);
}

} // namespace

std::string_view word_of(OperationState state) { return kWords.at(static_cast<std::size_t>(state)); }

Result<OperationState> parse_state(std::string_view word)
{
    const auto* const found = std::find(kWords.begin(), kWords.end(), word);
    if (found != kWords.end()) return static_cast<OperationState>(found - kWords.begin());
    return fail(Error{ErrorKind::Invalid, cat("'", printable(word), "' is no state of an operation")}.hint(
        "pending, running, succeeded, failed, cancelled and interrupted are"));
}

nlohmann::json to_json(const Operation& operation)
{
    return {{"id", operation.id},
            {"kind", operation.kind},
            {"subject", operation.subject},
            {"state", word_of(operation.state)},
            {"version", operation.version},
            {"progress",
             {{"done", operation.progress.done},
              {"total", operation.progress.total},
              {"unit", operation.progress.unit},
              {"stage", operation.progress.stage}}},
            {"created", operation.created},
            {"started", null_when_empty(operation.started)},
            {"ended", null_when_empty(operation.ended)},
            {"result", operation.result},
            {"error", operation.error ? to_json(Problem{*operation.error}) : nlohmann::json{}}};
}

nlohmann::json summary_json(const Operation& operation)
{
    auto document = to_json(operation);
    document["result"] = nullptr;
    return document;
}

Result<Operation> parse_operation(const nlohmann::json& document)
{
    const JsonNode node{document};
    Operation operation;
    operation.id = TRY(TRY(node.get("id")).text());
    operation.kind = TRY(TRY(node.get("kind")).text());
    operation.subject = TRY(node.text_or("subject", ""));
    const auto state = TRY(node.get("state"));
    const auto word = TRY(state.text());
    const auto parsed = parse_state(word);
    if (!parsed) return fail(state.complain(cat("there is no state '", word, "'")));
    operation.state = *parsed;
    operation.version = TRY(TRY(node.get("version")).unsigned_integer());
    const auto progress = TRY(node.get("progress"));
    operation.progress.done = TRY(TRY(progress.get("done")).unsigned_integer());
    operation.progress.total = TRY(TRY(progress.get("total")).unsigned_integer());
    operation.progress.unit = TRY(progress.text_or("unit", ""));
    operation.progress.stage = TRY(progress.text_or("stage", ""));
    operation.created = TRY(TRY(node.get("created")).text());
    operation.started = TRY(node.text_or("started", ""));
    operation.ended = TRY(node.text_or("ended", ""));
    if (const auto result = TRY(node.find("result"))) operation.result = result->value();
    if (const auto error = TRY(node.find("error"))) operation.error = error_of(500, json_text(error->value()));
    return operation;
}

} // namespace coppice::api
