#pragma once

#include "coppice/os/fd.h"

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace coppice::vdisk {

/// Closes descriptors on a thread of its own. The last reference to an overlay's mount takes as long as syncing all
/// that was written into it, and the file system it lies on. Any thread.
class Releaser {
public:
    Releaser() = default;
    Releaser(const Releaser&) = delete;
    Releaser& operator=(const Releaser&) = delete;
    ~Releaser(); ///< waits for all

    void release(os::Fd fd);

private:
    void work();

    std::mutex mutex_;
    std::condition_variable wanted_;
    std::vector<os::Fd> waiting_;
    bool stopping_ = false;
    std::thread thread_; ///< from the first release on
};

} // namespace coppice::vdisk
