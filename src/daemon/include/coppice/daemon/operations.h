#pragma once

#include "coppice/daemon/events.h"
#include "coppice/daemon/operation_log.h"

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

namespace coppice::daemon {

class Operations;

/// What running work sees of its operation.
class OperationContext {
public:
    [[nodiscard]] const std::string& id() const { return id_; }
    /// Set when somebody cancels or the daemon ends: stop as soon as is safe, and return any error.
    [[nodiscard]] const std::stop_token& stop() const { return stop_; }
    /// Cheap, to be called often: what is published is at most five times a second, and each new stage.
    void show(api::Progress progress);

private:
    friend class Operations;
    OperationContext(Operations& all, std::string id, std::stop_token stop)
        : all_{&all}, id_{std::move(id)}, stop_{std::move(stop)}
    {
    }
    Operations* all_;
    std::string id_;
    std::stop_token stop_;
    std::string stage_;
    std::chrono::steady_clock::time_point published_{};
};

/// The daemon's long-running work: a bounded number at once, each with a record that outlives it. Any thread.
class Operations {
public:
    struct Limits {
        unsigned running = 4;
        std::size_t waiting = 256;
        std::size_t history = 1000; ///< of those that are over, the newest are remembered
    };
    using Work = std::function<Result<nlohmann::json>(OperationContext&)>;

    /// Errors: those of `log`. `log` and `events` must outlive the object.
    static Result<std::unique_ptr<Operations>> open(OperationLog& log, EventHub& events, Limits limits);
    ~Operations(); ///< as `shut_down`, without an end to patience

    /// Errors: Unavailable (too many are waiting, or the daemon is ending), those of the log
    Result<api::Operation> start(std::string kind, std::string subject, Work work);
    [[nodiscard]] std::optional<api::Operation> find(const std::string& id) const;
    [[nodiscard]] std::vector<api::Operation> list() const; ///< oldest first
    /// Asks it to stop; one that has not begun is over at once. Errors: NotFound, Conflict (it is over)
    Result<api::Operation> cancel(const std::string& id);
    /// `wake` is called after each change of any operation, with its new version, and must not call us.
    [[nodiscard]] std::shared_ptr<void> watch(std::function<void(const api::Operation&)> wake)
    {
        return wakers_.add(std::move(wake));
    }

    /// Takes no more work; what waits and what runs becomes Interrupted. False when something still runs after
    /// `patience`: then only the end of the process stops it, and the log's next `load` says Interrupted.
    bool shut_down(std::chrono::milliseconds patience);

private:
    friend class OperationContext;
    struct Entry {
        api::Operation operation;
        Work work;
        std::stop_source stop;
        bool cancelled = false;
    };
    Operations(OperationLog& log, EventHub& events, Limits limits);
    void run();
    void run_one(std::unique_lock<std::mutex>& lock, const std::shared_ptr<Entry>& entry);
    void finish(Entry& entry, api::OperationState state, std::optional<Error> error, nlohmann::json result);
    void changed(const api::Operation& operation, const char* event);
    void forget_oldest();
    [[nodiscard]] std::shared_ptr<Entry> find_entry(const std::string& id) const;
    void show(const std::string& id, api::Progress progress);

    OperationLog& log_;
    EventHub& events_;
    Limits limits_;
    Wakers<api::Operation> wakers_;
    mutable std::mutex mutex_; ///< of all below, of the entries, and for `log_`
    std::condition_variable work_came_, work_ended_;
    std::vector<std::shared_ptr<Entry>> entries_; ///< oldest first
    unsigned running_ = 0;
    bool ending_ = false;
    std::vector<std::thread> threads_;
};

} // namespace coppice::daemon
