#include "coppice/daemon/operations.h"

#include "coppice/base/id.h"
#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/base/time.h"

#include <algorithm>
#include <exception>

namespace coppice::daemon {

namespace {

using api::OperationState;

constexpr std::chrono::milliseconds kProgressPause{200};
constexpr std::size_t kIdDigits = 12;

std::string path_of(const api::Operation& operation) { return cat("/v1/operations/", operation.id); }

/// This is the outermost frame: work that goes wrong fails, and nothing else does.
Result<nlohmann::json> outcome_of(const Operations::Work& work, OperationContext& context)
{
    try {
        return work(context);
    } catch (const std::exception& error) {
        log::error("operations", "an operation failed by a mistake of ours",
                   {{"id", context.id()}, {"error", error.what()}});
        return fail(Error{ErrorKind::Os, cat("coppiced made a mistake: ", error.what())}.hint(
            "please report it, with what its log says"));
    }
}

Error daemon_ends() { return Error{ErrorKind::Unavailable, "coppiced is ending"}.hint("try again when it is back"); }

} // namespace

void OperationContext::show(api::Progress progress)
{
    const auto time = std::chrono::steady_clock::now();
    const bool same_stage = progress.stage == stage_;
    if (same_stage && time - published_ < kProgressPause) return;
    published_ = time;
    stage_ = progress.stage;
    all_->show(id_, std::move(progress));
}

Operations::Operations(OperationLog& log, EventHub& events, Limits limits) : log_{log}, events_{events}, limits_{limits}
{
}

Result<std::unique_ptr<Operations>> Operations::open(OperationLog& log, EventHub& events, Limits limits)
{
    auto remembered = TRY_DOING("read what operations there were", log.load());
    std::unique_ptr<Operations> all{new Operations{log, events, limits}};
    for (auto& operation : remembered) {
        auto entry = std::make_shared<Entry>();
        entry->operation = std::move(operation);
        all->entries_.push_back(std::move(entry));
    }
    for (unsigned i = 0; i < limits.running; ++i)
        all->threads_.emplace_back([self = all.get()] { self->run(); });
    return all;
}

Operations::~Operations()
{
    shut_down(std::chrono::hours{24 * 365});
    for (std::thread& thread : threads_)
        thread.join();
}

std::shared_ptr<Operations::Entry> Operations::find_entry(const std::string& id) const
{
    const auto found =
        std::find_if(entries_.begin(), entries_.end(), [&](const auto& entry) { return entry->operation.id == id; });
    return found == entries_.end() ? nullptr : *found;
}

void Operations::changed(const api::Operation& operation, const char* event)
{
    events_.publish(event, path_of(operation), api::summary_json(operation));
    wakers_.wake_all(operation);
}

Result<api::Operation> Operations::start(std::string kind, std::string subject, Work work)
{
    const std::scoped_lock lock{mutex_};
    if (ending_) return fail(daemon_ends());
    const auto waiting = std::count_if(entries_.begin(), entries_.end(), [](const auto& entry) {
        return entry->operation.state == OperationState::Pending;
    });
    if (static_cast<std::size_t>(waiting) >= limits_.waiting)
        return fail(Error{ErrorKind::Unavailable, cat(waiting, " operations are waiting already")}.hint(
            "wait for some of them: coppice operation ls"));
    auto entry = std::make_shared<Entry>();
    entry->operation.id = random_hex(kIdDigits);
    entry->operation.kind = std::move(kind);
    entry->operation.subject = std::move(subject);
    entry->operation.version = 1;
    entry->operation.created = to_rfc3339(now());
    entry->work = std::move(work);
    TRY_DOING("remember the operation", log_.record(entry->operation));
    entries_.push_back(entry);
    changed(entry->operation, "operation.created");
    work_came_.notify_one();
    return entry->operation;
}

std::optional<api::Operation> Operations::find(const std::string& id) const
{
    const std::scoped_lock lock{mutex_};
    const auto entry = find_entry(id);
    return entry ? std::optional{entry->operation} : std::nullopt;
}

std::vector<api::Operation> Operations::list() const
{
    const std::scoped_lock lock{mutex_};
    std::vector<api::Operation> operations;
    operations.reserve(entries_.size());
    for (const auto& entry : entries_)
        operations.push_back(entry->operation);
    return operations;
}

Result<api::Operation> Operations::cancel(const std::string& id)
{
    std::unique_lock lock{mutex_};
    const auto entry = find_entry(id);
    if (!entry)
        return fail(Error{ErrorKind::NotFound, cat("there is no operation ", id)}.hint("see: coppice operation ls"));
    if (api::is_over(entry->operation.state))
        return fail(ErrorKind::Conflict,
                    cat("operation ", id, " is over already: ", api::word_of(entry->operation.state)));
    entry->cancelled = true;
    if (entry->operation.state == OperationState::Pending)
        finish(*entry, OperationState::Cancelled, Error{ErrorKind::Unavailable, "cancelled before it began"}, {});
    auto operation = entry->operation;
    lock.unlock(); // the work may have left callbacks there that ask us something
    entry->stop.request_stop();
    return operation;
}

void Operations::show(const std::string& id, api::Progress progress)
{
    const std::scoped_lock lock{mutex_};
    const auto entry = find_entry(id);
    if (!entry || entry->operation.progress == progress) return;
    entry->operation.progress = std::move(progress);
    ++entry->operation.version;
    changed(entry->operation, "operation.progress");
}

void Operations::finish(Entry& entry, OperationState state, std::optional<Error> error, nlohmann::json result)
{
    auto& operation = entry.operation;
    operation.state = state;
    operation.error = std::move(error);
    operation.result = std::move(result);
    operation.ended = to_rfc3339(now());
    ++operation.version;
    entry.work = nullptr;
    // Its work is done, whatever the log says; after a restart it counts as interrupted then.
    if (const auto recorded = log_.record(operation); !recorded)
        log::error("operations", "the end of an operation could not be written down",
                   {{"id", operation.id}, {"error", recorded.error().line()}});
    changed(operation, "operation.ended");
    forget_oldest();
}

void Operations::forget_oldest()
{
    const auto over = [](const auto& entry) { return api::is_over(entry->operation.state); };
    auto count = static_cast<std::size_t>(std::count_if(entries_.begin(), entries_.end(), over));
    // In one go now and then: each rewrites the log.
    if (count <= limits_.history + limits_.history / 4) return;
    std::erase_if(entries_, [&](const auto& entry) { return over(entry) && count-- > limits_.history; });
    std::vector<api::Operation> kept;
    kept.reserve(entries_.size());
    for (const auto& entry : entries_)
        kept.push_back(entry->operation);
    if (const auto done = log_.keep_only(kept); !done)
        log::error("operations", "the log could not be shortened", {{"error", done.error().line()}});
}

void Operations::run()
{
    std::unique_lock lock{mutex_};
    for (;;) {
        const auto next = std::find_if(entries_.begin(), entries_.end(), [](const auto& entry) {
            return entry->operation.state == OperationState::Pending;
        });
        if (next != entries_.end()) {
            run_one(lock, std::shared_ptr{*next});
        } else if (ending_) {
            return;
        } else {
            work_came_.wait(lock);
        }
    }
}

void Operations::run_one(std::unique_lock<std::mutex>& lock, const std::shared_ptr<Entry>& entry)
{
    entry->operation.state = OperationState::Running;
    entry->operation.started = to_rfc3339(now());
    ++entry->operation.version;
    ++running_;
    if (const auto recorded = log_.record(entry->operation); !recorded)
        log::warn("operations", "the start of an operation could not be written down",
                  {{"id", entry->operation.id}, {"error", recorded.error().line()}});
    changed(entry->operation, "operation.started");
    OperationContext context{*this, entry->operation.id, entry->stop.get_token()};
    const Work work = std::move(entry->work);

    lock.unlock();
    auto result = outcome_of(work, context);
    lock.lock();

    --running_;
    if (result)
        finish(*entry, OperationState::Succeeded, {}, *std::move(result));
    else if (entry->cancelled)
        finish(*entry, OperationState::Cancelled, std::move(result).error(), {});
    else
        finish(*entry, entry->stop.stop_requested() ? OperationState::Interrupted : OperationState::Failed,
               std::move(result).error(), {});
    work_ended_.notify_all();
}

bool Operations::shut_down(std::chrono::milliseconds patience)
{
    std::unique_lock lock{mutex_};
    if (!ending_) {
        ending_ = true;
        std::vector<std::shared_ptr<Entry>> running;
        for (const auto& entry : std::vector{entries_}) {
            if (entry->operation.state == OperationState::Running) running.push_back(entry);
            if (entry->operation.state == OperationState::Pending)
                finish(*entry, OperationState::Interrupted, daemon_ends(), {});
        }
        work_came_.notify_all();
        lock.unlock();
        for (const auto& entry : running)
            entry->stop.request_stop();
        lock.lock();
    }
    return work_ended_.wait_for(lock, patience, [&] { return running_ == 0; });
}

} // namespace coppice::daemon
