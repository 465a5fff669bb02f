#pragma once

#include "coppice/daemon/routes.h"

namespace coppice::daemon {

/// Opens the storage below the daemon's root and gives its rows of the API: vdisks, snapshots, branches, mounts, the
/// store. The storage lives as long as the routes. Errors: as storage::Storage::open
Result<std::vector<Route>> storage_routes(Services& services);

} // namespace coppice::daemon
