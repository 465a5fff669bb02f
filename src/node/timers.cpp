#include "timers.h"

#include <algorithm>
#include <utility>

namespace coppice::node {

Timers::Timers() : thread_{[this] { run(); }} {}

void Timers::stop()
{
    {
        const std::lock_guard lock{mutex_};
        ending_ = true;
    }
    changed_.notify_one();
    if (thread_.joinable()) thread_.join();
}

std::uint64_t Timers::add(Clock::duration delay, std::function<void()> work)
{
    const std::lock_guard lock{mutex_};
    const std::uint64_t id = ++last_;
    due_.emplace(Clock::now() + delay, Entry{.id = id, .work = std::move(work)});
    changed_.notify_one();
    return id;
}

void Timers::cancel(std::uint64_t id)
{
    const std::lock_guard lock{mutex_};
    std::erase_if(due_, [id](const auto& entry) { return entry.second.id == id; });
}

void Timers::run()
{
    std::unique_lock lock{mutex_};
    while (!ending_) {
        if (due_.empty()) {
            changed_.wait(lock);
            continue;
        }
        const auto first = due_.begin();
        if (const auto when = first->first; when > Clock::now()) {
            changed_.wait_until(lock, when);
            continue;
        }
        const auto work = std::move(first->second.work);
        due_.erase(first);
        lock.unlock();
        work();
        lock.lock();
    }
}

} // namespace coppice::node
