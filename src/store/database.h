#pragma once

#include "connection.h"
#include "coppice/store/store.h"

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace coppice::store {

/// The connections of a store: one that writes, in a thread of its own, and as many that read as are needed at once.
class Database {
public:
    /// @param path of a database with the current schema
    static Result<std::unique_ptr<Database>> open(std::string path);
    Database(const Database&) = delete;
    Database& operator=(const Database&) = delete;
    ~Database(); ///< finishes what waits

    Result<> read(const std::function<Result<>(const View&)>& body);
    Result<> write(const std::function<Result<>(Txn&)>& body);

    /// How many transactions were committed: fewer than requests when some shared one.
    [[nodiscard]] std::uint64_t commits() const;

private:
    struct Job {
        const std::function<Result<>(Txn&)>* body;
        Result<> result;
        bool done = false;
    };
    explicit Database(std::string path) : path_{std::move(path)} {}
    void write_loop();
    void run_group(std::vector<Job*>& group, std::deque<Job*>& again);
    Result<> run_jobs(std::vector<Job*>& group, std::deque<Job*>& again);
    Result<> reopen();

    const std::string path_;
    mutable std::mutex mutex_; // guards what follows up to the thread
    std::condition_variable wanted_, finished_;
    std::deque<Job*> jobs_;
    bool stopping_ = false;
    std::uint64_t commits_ = 0;
    std::vector<std::unique_ptr<Connection>> readers_; // idle ones
    std::unique_ptr<Connection> writer_;               // the thread's own after open()
    std::thread thread_;
};

} // namespace coppice::store
