#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace coppice::daemon {

/// A fixed number of threads and a bounded queue in front of them. Any thread may submit.
class WorkerPool {
public:
    WorkerPool(unsigned threads, std::size_t queue);
    ~WorkerPool(); ///< drops what has not begun, then joins

    /// False when the queue is full: nothing has happened then.
    [[nodiscard]] bool submit(std::function<void()> work);

private:
    void run();
    std::size_t capacity_;
    std::mutex mutex_; ///< of all below
    std::condition_variable came_;
    std::deque<std::function<void()>> queue_;
    bool ending_ = false;
    std::vector<std::thread> threads_;
};

} // namespace coppice::daemon
