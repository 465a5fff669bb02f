#pragma once

#include "coppice/store/snapshot.h"

#include <string>
#include <vector>

/// Which working layer a snapshot was taken of. That is this node's knowledge: it is not signed, and does not travel.
namespace coppice::store {

struct Origin {
    std::string working;
    std::string schedule; ///< that had it taken, such as "hourly"; empty: somebody
};
/// Forgotten with the snapshot, or with the working layer. Errors: NotFound (the snapshot)
Result<> set_origin(Txn& txn, const SnapshotId& id, const Origin& origin);
struct Taken {
    Snapshot snapshot;
    std::string schedule;
};
/// Those that were taken of a working layer, latest first. @param most 0: all
Result<std::vector<Taken>> taken_of(const View& view, const std::string& working, std::size_t most = 0);
/// What led to a working layer, and what was taken of it, with what that stands on; latest first. @param most 0: all
/// Errors: NotFound
Result<std::vector<Snapshot>> history_of(const View& view, const std::string& working, std::size_t most = 0);

} // namespace coppice::store
