#pragma once

#include "coppice/vdisk/sealer.h"

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace coppice::storage {

/// The store's own work, in a thread of low priority: seals what was frozen, removes what has become a layer, collects
/// what nobody needs. Stopped and started again it goes on where it was.
class Background {
public:
    struct Options {
        std::chrono::seconds retry{60};         ///< after a failure
        std::chrono::seconds collection{86400}; ///< from one to the next; the first one after an hour
        std::function<void(const store::Snapshot&)> sealed = [](const store::Snapshot&) {};
    };
    Background(store::Store& store, vdisk::Sealer& sealer, Options options);
    Background(const Background&) = delete;
    Background& operator=(const Background&) = delete;
    ~Background(); ///< waits until the part that it is at is done

    /// There may be something to seal. Any thread; does not block.
    void wake();

private:
    void run();
    Result<> seal();
    [[nodiscard]] bool is_ending() const;

    store::Store& store_;
    vdisk::Sealer& sealer_;
    Options options_;
    mutable std::mutex mutex_; ///< of the two flags
    std::condition_variable changed_;
    bool woken_ = true, ending_ = false;
    std::thread thread_; ///< last: it uses the others
};

} // namespace coppice::storage
