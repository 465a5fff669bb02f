#pragma once

#include "coppice/store/snapshot.h"

namespace coppice::vdisk {

/// The snapshot that a request of this key has made. Errors: Conflict (the key is another request's), NotFound (it was
/// made, and removed since)
inline Result<std::optional<store::Snapshot>> made_before(const store::View& view, const store::RequestKey& request)
{
    const auto outcome = TRY(store::find_outcome(view, request));
    if (!outcome) return std::optional<store::Snapshot>{};
    return std::optional{TRY(store::get_snapshot(view, TRY(store::SnapshotId::parse(*outcome))))};
}

} // namespace coppice::vdisk
