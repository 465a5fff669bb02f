#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace coppice {

/// A lock for work that takes minutes: who waits for it can give up. (std::timed_mutex could do that; GCC 12's thread
/// sanitizer does not know how it waits.) Any thread.
class Turn {
public:
    void lock()
    {
        std::unique_lock lock{mutex_};
        ended_.wait(lock, [&] { return !taken_; });
        taken_ = true;
    }
    void unlock()
    {
        {
            const std::lock_guard lock{mutex_};
            taken_ = false;
        }
        ended_.notify_one();
    }
    /// Waits as long as `go_on()` says so, which is asked several times a second, without any lock held.
    /// @returns whether it has it now
    template <typename GoOn> [[nodiscard]] bool lock_while(GoOn&& go_on)
    {
        constexpr std::chrono::milliseconds kPause{100};
        for (;;) {
            {
                std::unique_lock lock{mutex_};
                if (ended_.wait_for(lock, kPause, [&] { return !taken_; })) {
                    taken_ = true;
                    return true;
                }
            }
            if (!go_on()) return false;
        }
    }

private:
    std::mutex mutex_;
    std::condition_variable ended_;
    bool taken_ = false;
};

} // namespace coppice
