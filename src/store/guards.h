#pragma once

#include "coppice/base/turn.h"
#include "coppice/store/store.h"

#include <mutex>
#include <set>
#include <string>
#include <string_view>

namespace coppice::store {

/// What running work of this process needs, beyond what the database says.
struct Store::LayerGuard {
    Turn collecting;                   ///< one collection at a time, and none beside fsck. Taken before `mutex`
    std::mutex mutex;                  ///< held while files of a layer come or go
    std::multiset<LayerDigest> staged; ///< layers whose files must stay though the database does not know them yet
    std::set<std::string> sessions;    ///< keys of running ingests
};

/// Called where others may come in between a look and what follows from it. Tests set it.
extern void (*on_step)(std::string_view step);
inline void step(std::string_view name)
{
    if (on_step != nullptr) on_step(name);
}

} // namespace coppice::store
