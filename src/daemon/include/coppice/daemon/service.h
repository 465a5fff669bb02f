#pragma once

#include "coppice/daemon/routes.h"
#include "coppice/daemon/server.h"

#include <chrono>
#include <functional>
#include <string>
#include <vector>

namespace coppice::daemon {

struct DaemonOptions {
    std::string root;
    std::string socket; ///< counts for nothing when a service manager hands over a listening one
    std::string version;
    ServerLimits limits;
    Operations::Limits operations;
    std::size_t events = 4096;                  ///< how many are remembered
    std::chrono::milliseconds patience{20'000}; ///< at the end: for running requests, then again for the rest
};

/// What is wired in besides the daemon's own routes. `services` outlives the routes.
using MoreRoutes = std::function<Result<std::vector<Route>>(Services&)>;

/// Runs the daemon until SIGTERM, SIGINT or a shutdown request; only one per root. Takes a listening socket from the
/// service manager or makes one, and says when it is ready. Single-threaded callers.
/// Errors: Conflict (one runs already, with its place), those of files and sockets
/// @return exit status: 0, or 1 when an operation did not stop in time; what else does not stop in time ends the
/// process
Result<int> run_daemon(const DaemonOptions& options, const MoreRoutes& more);

/// Files of the daemon below ROOT. Source: docs/reference/daemon-files.md
inline constexpr const char* kDaemonDirectory = "daemon";

} // namespace coppice::daemon
