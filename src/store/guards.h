#pragma once

#include "coppice/store/store.h"

#include <mutex>
#include <set>
#include <string>

namespace coppice::store {

/// What running work of this process needs, beyond what the database says.
struct Store::LayerGuard {
    std::mutex mutex;                  ///< held while files of a layer come or go
    std::multiset<LayerDigest> staged; ///< layers whose files must stay though the database does not know them yet
    std::set<std::string> sessions;    ///< keys of running ingests
};

} // namespace coppice::store
