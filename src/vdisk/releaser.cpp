#include "coppice/vdisk/releaser.h"

#include <utility>

namespace coppice::vdisk {

Releaser::~Releaser()
{
    {
        const std::lock_guard lock{mutex_};
        stopping_ = true;
    }
    wanted_.notify_one();
    if (thread_.joinable()) thread_.join();
}

void Releaser::release(os::Fd fd)
{
    if (!fd.is_open()) return;
    {
        const std::lock_guard lock{mutex_};
        waiting_.push_back(std::move(fd));
        if (!thread_.joinable()) thread_ = std::thread{[this] { work(); }};
    }
    wanted_.notify_one();
}

void Releaser::work()
{
    std::unique_lock lock{mutex_};
    for (;;) {
        wanted_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
        if (waiting_.empty()) return;
        auto closing = std::exchange(waiting_, {});
        lock.unlock();
        closing.clear();
        lock.lock();
    }
}

} // namespace coppice::vdisk
