#pragma once

#include "coppice/daemon/dispatcher.h"
#include "coppice/os/fd.h"

#include <chrono>
#include <functional>
#include <memory>
#include <vector>

namespace coppice::daemon {

/// What one client may cost.
struct ServerLimits {
    std::size_t connections = 256; ///< more are answered with 503 and closed
    std::uint32_t header_bytes = 16U << 10;
    std::uint64_t body_bytes = 1U << 20;
    std::chrono::milliseconds idle{75'000};        ///< between two requests of one connection
    std::chrono::milliseconds header_time{10'000}; ///< from a request's first byte to the end of its header
    std::chrono::milliseconds body_time{30'000};
    std::chrono::milliseconds write_time{30'000}; ///< for a client to take an answer, or a piece of a stream
    std::chrono::milliseconds heartbeat{15'000};  ///< of streams
    unsigned workers = 8;                         ///< threads that run handlers
    std::size_t queue = 512;                      ///< requests waiting for one of them; more are answered with 503
};

/// HTTP/1.1 over unix sockets: reads requests, has the dispatcher answer them on worker threads, writes the answers.
/// One thread does all the reading and writing: the one that calls `run`. Whatever may wake a reply (Later, Stream)
/// must have ended its threads before the server goes, and the handlers (`end_handlers`) before what they work on.
class Server {
public:
    /// @param listeners listening stream sockets
    /// @param dispatcher must outlive the server
    static Result<std::unique_ptr<Server>> make(std::vector<os::Fd> listeners, Dispatcher& dispatcher,
                                                ServerLimits limits);
    ~Server();

    /// Calls `handler` in the thread of `run` whenever `fd` becomes readable. Before `run`; `fd` must stay open.
    Result<> watch(const os::Fd& fd, std::function<void()> handler);

    /// Serves until `stop`, then until running requests are answered, at most `patience`; handlers may still be at
    /// work then, for nobody. Blocks. Errors: Os
    Result<> run(std::chrono::milliseconds patience);
    /// Behind `run`: asks handlers to stop, drops the requests that wait for one, and waits for those at work, however
    /// long that takes.
    void end_handlers();
    /// Takes no more connections, closes idle ones and streams, ends waiting. Any thread.
    void stop();

private:
    class Impl;
    explicit Server(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

} // namespace coppice::daemon
