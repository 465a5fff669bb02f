#include "coppice/daemon/idempotency.h"

#include "coppice/base/json.h"
#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/security/sha256.h"

#include <algorithm>

namespace coppice::daemon {

namespace {

constexpr int kAccepted = 202, kPreconditionFailed = 412;

nlohmann::json to_json(const std::string& key, const Answered& answered)
{
    return {{"key", key},
            {"request", answered.request},
            {"status", answered.status},
            {"body", answered.body},
            {"etag", answered.etag},
            {"headers", answered.headers},
            {"type", answered.type}};
}

Result<std::pair<std::string, Answered>> parse(const nlohmann::json& record)
{
    const JsonNode node{record};
    Answered answered;
    auto key = TRY(TRY(node.get("key")).text());
    answered.request = TRY(TRY(node.get("request")).text());
    answered.status = static_cast<int>(TRY(TRY(node.get("status")).integer(100, 599)));
    if (const auto body = TRY(node.find("body"))) answered.body = body->value();
    answered.etag = TRY(node.text_or("etag", ""));
    answered.type = TRY(node.text_or("type", ""));
    TRY(node.each_member("headers", [&](const std::string& name, const JsonNode& value) -> Result<> {
        answered.headers[name] = TRY(value.text());
        return {};
    }));
    return std::pair{std::move(key), std::move(answered)};
}

Reply reply_of(const Answered& answered)
{
    Reply reply;
    reply.status = answered.status;
    reply.body = answered.body;
    reply.etag = answered.etag;
    reply.type = answered.type;
    reply.headers = answered.headers;
    reply.headers["Idempotent-Replayed"] = "true";
    return reply;
}

Reply refusal(int status, std::string message, const std::string& hint)
{
    Error error{status == 409 ? ErrorKind::Conflict : ErrorKind::Invalid, std::move(message)};
    return Reply::problem({status, std::move(error).hint(hint)});
}

} // namespace

void JournalAnswerStore::remember(State& state, const std::string& key, Answered answered)
{
    if (!state.answers.insert_or_assign(key, std::move(answered)).second) std::erase(state.order, key);
    state.order.push_back(key);
}

Result<std::unique_ptr<JournalAnswerStore>> JournalAnswerStore::open(const std::string& path, std::size_t capacity)
{
    auto opened = TRY(Journal::open(path));
    State state{.journal = std::move(opened.journal), .answers = {}, .order = {}};
    for (const auto& record : opened.records) {
        auto [key, answered] = TRY_DOING(path, parse(record));
        // An operation of an earlier life may have been interrupted: repeating the request begins it anew.
        if (answered.status != kAccepted) remember(state, key, std::move(answered));
    }
    return std::unique_ptr<JournalAnswerStore>{new JournalAnswerStore{std::move(state), capacity}};
}

Result<std::optional<Answered>> JournalAnswerStore::find(const std::string& key)
{
    return state_.with([&](const State& state) -> std::optional<Answered> {
        const auto found = state.answers.find(key);
        return found == state.answers.end() ? std::nullopt : std::optional{found->second};
    });
}

Result<> JournalAnswerStore::put(const std::string& key, const Answered& answered)
{
    return state_.with([&](State& state) -> Result<> {
        TRY(state.journal.append(to_json(key, answered), true));
        remember(state, key, answered);
        if (state.order.size() <= capacity_ + capacity_ / 4) return {};
        const auto surplus = static_cast<std::ptrdiff_t>(state.order.size() - capacity_);
        std::for_each(state.order.begin(), state.order.begin() + surplus,
                      [&](const std::string& old) { state.answers.erase(old); });
        state.order.erase(state.order.begin(), state.order.begin() + surplus);
        std::vector<nlohmann::json> records;
        records.reserve(state.order.size());
        for (const std::string& kept : state.order)
            records.push_back(to_json(kept, state.answers.at(kept)));
        return state.journal.replace(records);
    });
}

Result<> IdempotentRequests::check_key(std::string_view key)
{
    const bool printable = std::all_of(key.begin(), key.end(), [](char c) { return c > 0x20 && c < 0x7f; });
    if (!key.empty() && key.size() <= 128 && printable) return {};
    return fail(ErrorKind::Invalid, "Idempotency-Key must be 1 to 128 printable ASCII characters without spaces");
}

Result<Reply> IdempotentRequests::run(const Request& request, const std::string& text,
                                      const std::function<Result<Reply>()>& handle)
{
    struct RequestKind {};
    const std::string asked = security::sha256<security::Digest<RequestKind>>(text).hex();
    TRY(check_key(request.idempotency_key));
    const std::string key = cat(request.identity.uid, ':', request.idempotency_key);
    if (!at_work_.with([&](auto& keys) { return keys.insert(key).second; }))
        return refusal(409, "a request with this Idempotency-Key is still at work", "wait, then repeat it");
    struct Release {
        IdempotentRequests& all;
        const std::string& key;
        ~Release()
        {
            all.at_work_.with([&](auto& keys) { keys.erase(key); });
        }
    } const release{*this, key};

    if (const auto before = TRY(store_.find(key))) {
        if (before->request != asked)
            return refusal(422, "this Idempotency-Key came with another request before",
                           "use a new key for each request");
        if (before->status != kAccepted || !is_lost_(before->body)) return reply_of(*before);
    }
    auto outcome = handle();
    Reply reply = outcome ? *std::move(outcome) : Reply::problem(api::Problem{std::move(outcome).error()});
    if (reply.status >= 500 || reply.status == kPreconditionFailed || reply.later || reply.stream || reply.file)
        return reply;
    const Answered answered{.request = asked,
                            .status = reply.status,
                            .body = reply.body,
                            .etag = reply.etag,
                            .type = reply.type,
                            .headers = reply.headers};
    if (const auto kept = store_.put(key, answered); !kept)
        log::error("api", "an answer could not be kept for its Idempotency-Key",
                   {{"request", request.id}, {"error", kept.error().line()}});
    return reply;
}

} // namespace coppice::daemon
