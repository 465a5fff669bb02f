#pragma once

#include "coppice/base/guarded.h"
#include "coppice/daemon/journal.h"
#include "coppice/daemon/message.h"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

namespace coppice::daemon {

/// What was asked under an idempotency key, and answered.
struct Answered {
    std::string request; ///< SHA-256 of method, target and body: they may hold what is nobody's business
    int status = 0;
    nlohmann::json body;
    std::string etag, type;
    std::map<std::string, std::string> headers;
};

/// Remembers answers by key. Keys of different users are different ones: `key` has both in it. Any thread.
///
/// A handler that changes a database of its own writes the row in that change's transaction; then the answer is there
/// exactly if the change is. What changes only the daemon's own state uses the journal.
class AnswerStore {
public:
    virtual ~AnswerStore() = default;
    virtual Result<std::optional<Answered>> find(const std::string& key) = 0;
    /// Durable when it returns.
    virtual Result<> put(const std::string& key, const Answered& answered) = 0;
};

/// The newest answers, in a journal; of those that began an operation, the ones of this life. Source of the lines:
/// docs/reference/daemon-files.md
class JournalAnswerStore final : public AnswerStore {
public:
    static Result<std::unique_ptr<JournalAnswerStore>> open(const std::string& path, std::size_t capacity = 1000);
    Result<std::optional<Answered>> find(const std::string& key) override;
    Result<> put(const std::string& key, const Answered& answered) override;

private:
    struct State {
        Journal journal;
        std::map<std::string, Answered> answers;
        std::vector<std::string> order; ///< keys, oldest first
    };
    JournalAnswerStore(State state, std::size_t capacity) : capacity_{capacity}, state_{std::move(state)} {}
    static void remember(State& state, const std::string& key, Answered answered);
    std::size_t capacity_;
    Guarded<State> state_;
};

/// Runs requests with a key once.
class IdempotentRequests {
public:
    /// Whether the operation that an answer 202 began ended without success, or is not known any more.
    using IsLost = std::function<bool(const nlohmann::json& operation)>;
    IdempotentRequests(AnswerStore& store, IsLost is_lost) : store_{store}, is_lost_{std::move(is_lost)} {}

    /// Runs `handle`, or gives the first one's answer again. Answers 422 when the key came with another request, 409
    /// while the first one is still at work. Failures of ours (5xx), operations that failed, what did not become an
    /// answer, and preconditions that did not hold (412: with another If-Match it is another request) are not kept:
    /// there, repeating is the point.
    Result<Reply> run(const Request& request, const std::string& text, const std::function<Result<Reply>()>& handle);

    /// Keys: 1 to 128 printable ASCII characters. Errors: Invalid
    static Result<> check_key(std::string_view key);

private:
    AnswerStore& store_;
    IsLost is_lost_;
    Guarded<std::set<std::string>> at_work_;
};

} // namespace coppice::daemon
