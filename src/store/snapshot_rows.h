#pragma once

#include "connection.h"
#include "coppice/base/text.h"
#include "coppice/store/snapshot.h"

#include <vector>

namespace coppice::store {

inline constexpr std::string_view kSelectSnapshot =
    "SELECT s.id, v.uuid, s.parent, l.digest, s.state, s.seq, s.epoch, s.depth, s.created, s.bytes, s.author, "
    "s.message, "
    "s.manifest FROM snapshot s JOIN vdisk v ON v.id = s.vdisk LEFT JOIN layer l ON l.id = s.layer ";

inline Error no_such(const SnapshotId& id)
{
    return Error{ErrorKind::NotFound, cat("there is no snapshot ", id.hex())};
}

/// From a row of kSelectSnapshot.
Result<Snapshot> read_snapshot_row(const Query& query);

/// All rows of kSelectSnapshot with `where` behind it.
template <typename... Values>
Result<std::vector<Snapshot>> select_snapshots(Connection& db, std::string_view where, const Values&... values)
{
    std::vector<Snapshot> found;
    auto query = TRY(db.query(cat(kSelectSnapshot, where), values...));
    while (TRY(query.next()))
        found.push_back(TRY(read_snapshot_row(query)));
    return found;
}

/// Row id of a vdisk. Errors: NotFound
Result<std::int64_t> vdisk_row_id(Connection& db, const VdiskId& id);

} // namespace coppice::store
