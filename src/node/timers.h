#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

namespace coppice::node {

/// Work that is due at a later time, done one after another in a thread of its own. Any thread.
class Timers {
public:
    using Clock = std::chrono::steady_clock;

    Timers();
    Timers(const Timers&) = delete;
    Timers& operator=(const Timers&) = delete;
    ~Timers() { stop(); }
    /// Waits for what is being done; the rest, and what is added from then on, is forgotten.
    void stop();

    std::uint64_t add(Clock::duration delay, std::function<void()> work);
    /// What is being done already goes on.
    void cancel(std::uint64_t id);

private:
    void run();

    struct Entry {
        std::uint64_t id = 0;
        std::function<void()> work;
    };
    std::mutex mutex_; ///< of the next four
    std::condition_variable changed_;
    std::multimap<Clock::time_point, Entry> due_;
    std::uint64_t last_ = 0;
    bool ending_ = false;
    std::thread thread_; ///< last: it uses the others
};

} // namespace coppice::node
