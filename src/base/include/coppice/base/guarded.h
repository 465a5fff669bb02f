#pragma once

#include <mutex>
#include <utility>

namespace coppice {

/// Data that several threads share, reachable only with its lock held.
template <typename T> class Guarded {
public:
    template <typename... Args> explicit Guarded(Args&&... args) : data_(std::forward<Args>(args)...) {}

    /// Calls `body` with the data and returns what it returns. Must not be nested for one object.
    template <typename Body> decltype(auto) with(Body&& body)
    {
        const std::scoped_lock lock{mutex_};
        return std::forward<Body>(body)(data_);
    }
    template <typename Body> decltype(auto) with(Body&& body) const
    {
        const std::scoped_lock lock{mutex_};
        return std::forward<Body>(body)(data_);
    }

private:
    mutable std::mutex mutex_;
    T data_;
};

} // namespace coppice
