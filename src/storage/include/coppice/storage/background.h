#pragma once

#include "coppice/vdisk/flattener.h"
#include "coppice/vdisk/sealer.h"
#include "coppice/vdisk/working_layers.h"

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <set>
#include <thread>

namespace coppice::storage {

/// The store's own work, in a thread of low priority: seals what was frozen, shortens deep stacks, removes what has
/// become a layer or was given up, syncs blobs, collects what nobody needs. Stopped and started again it goes on where
/// it was.
class Background {
public:
    struct Options {
        std::chrono::seconds retry{60};         ///< after a failure
        std::chrono::seconds collection{86400}; ///< from one to the next; the first one after an hour
        std::function<void(const store::Snapshot&)> sealed = [](const store::Snapshot&) {};
    };
    /// What it works on; must outlive it.
    struct Parts {
        store::Store& store;
        vdisk::Sealer& sealer;
        vdisk::Flattener& flattener;
        vdisk::WorkingLayers& layers;
    };
    Background(const Parts& parts, Options options);
    Background(const Background&) = delete;
    Background& operator=(const Background&) = delete;
    ~Background(); ///< waits until the part that it is at is done

    /// There may be something to do. Any thread; does not block.
    void wake();

private:
    void run();
    Result<> seal();
    Result<> flatten();
    bool work(bool collects);
    [[nodiscard]] bool is_ending() const;

    Parts parts_;
    Options options_;
    std::set<store::SnapshotId> told_; ///< of what is wrong with them; only the thread's
    mutable std::mutex mutex_;         ///< of the two flags
    std::condition_variable changed_;
    bool woken_ = true, ending_ = false;
    std::thread thread_; ///< last: it uses the others
};

} // namespace coppice::storage
