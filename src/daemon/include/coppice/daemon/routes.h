#pragma once

#include "coppice/daemon/operations.h"
#include "coppice/daemon/router.h"
#include "coppice/instance/doctor.h"

#include <functional>
#include <string>
#include <vector>

namespace coppice::daemon {

/// What handlers work on. Must outlive the routes.
struct Services {
    std::string root; ///< state directory
    std::string version;
    instance::HostReport host;
    Operations& operations;
    EventHub& events;
    std::function<void()> stop; ///< begins the end of the daemon
    timespec started{};
};

/// The daemon's own rows of the API. Modules that are wired in add theirs.
std::vector<Route> own_routes(Services& services);

/// An answer 202 with the operation: for handlers that began one.
Reply accepted(const api::Operation& operation);

} // namespace coppice::daemon
