#pragma once

#include "coppice/os/fd.h"

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace coppice::node {

/// A few threads that wait for any number of sockets. A socket's handler runs in one thread at a time. Any thread.
class LinkPool {
public:
    /// Called when the socket can be read, or its other end has gone. @returns whether to wait for it again
    using Handler = std::function<bool()>;

    static Result<std::unique_ptr<LinkPool>> make(unsigned threads);
    LinkPool(const LinkPool&) = delete;
    LinkPool& operator=(const LinkPool&) = delete;
    ~LinkPool() { stop(); }
    /// Waits for handlers that run; none runs from then on.
    void stop();

    /// @param socket stays open until the handler has returned false, or the pool has gone
    Result<> add(const os::Fd& socket, Handler handler);

private:
    LinkPool(os::Fd epoll, os::Fd end) : epoll_{std::move(epoll)}, end_{std::move(end)} {}
    void work();

    struct Link {
        int socket = -1;
        Handler handler;
    };
    os::Fd epoll_, end_;
    std::mutex mutex_; ///< of the next two
    std::uint64_t last_ = 0;
    std::map<std::uint64_t, std::shared_ptr<Link>> links_;
    std::vector<std::thread> threads_;
};

} // namespace coppice::node
