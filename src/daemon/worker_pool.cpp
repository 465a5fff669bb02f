#include "coppice/daemon/worker_pool.h"

namespace coppice::daemon {

WorkerPool::WorkerPool(unsigned threads, std::size_t queue) : capacity_{queue}
{
    for (unsigned i = 0; i < threads; ++i)
        threads_.emplace_back([this] { run(); });
}

WorkerPool::~WorkerPool()
{
    {
        const std::scoped_lock lock{mutex_};
        ending_ = true;
        queue_.clear();
    }
    came_.notify_all();
    for (std::thread& thread : threads_)
        thread.join();
}

bool WorkerPool::submit(std::function<void()> work)
{
    {
        const std::scoped_lock lock{mutex_};
        if (ending_ || queue_.size() >= capacity_) return false;
        queue_.push_back(std::move(work));
    }
    came_.notify_one();
    return true;
}

void WorkerPool::run()
{
    std::unique_lock lock{mutex_};
    for (;;) {
        came_.wait(lock, [this] { return ending_ || !queue_.empty(); });
        if (ending_) return;
        const auto work = std::move(queue_.front());
        queue_.pop_front();
        lock.unlock();
        work();
        lock.lock();
    }
}

} // namespace coppice::daemon
