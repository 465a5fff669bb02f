#pragma once

#include <condition_variable>
#include <mutex>
#include <set>
#include <string>
#include <utility>

namespace coppice::node {

/// A lock for each name. Any thread.
class NameLocks {
public:
    class Held {
    public:
        Held(Held&& other) noexcept : locks_{std::exchange(other.locks_, nullptr)}, name_{std::move(other.name_)} {}
        Held& operator=(Held&&) = delete;
        ~Held()
        {
            if (locks_ != nullptr) locks_->release(name_);
        }

    private:
        friend class NameLocks;
        Held(NameLocks& locks, std::string name) : locks_{&locks}, name_{std::move(name)} {}
        NameLocks* locks_;
        std::string name_;
    };

    /// Waits until nobody else has it.
    [[nodiscard]] Held take(const std::string& name)
    {
        std::unique_lock lock{mutex_};
        released_.wait(lock, [&] { return taken_.insert(name).second; });
        return Held{*this, name};
    }

private:
    void release(const std::string& name)
    {
        {
            const std::lock_guard lock{mutex_};
            taken_.erase(name);
        }
        released_.notify_all();
    }

    std::mutex mutex_;
    std::condition_variable released_;
    std::set<std::string> taken_;
};

} // namespace coppice::node
