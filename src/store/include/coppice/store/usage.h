#pragma once

#include "coppice/store/snapshot.h"
#include "coppice/store/vdisk.h"

#include <map>
#include <string>
#include <vector>

namespace coppice::store {

/// Who needs what: stored bytes of chunks.
struct VdiskUsage {
    std::string name;
    std::uint64_t snapshots = 0;
    std::uint64_t own_bytes = 0;                      ///< of chunks that no other vdisk needs
    std::uint64_t shared_bytes = 0;                   ///< of chunks that others need, too
    std::map<std::string, std::uint64_t> shared_with; ///< by vdisk; a chunk of three counts for both others
};
struct Usage {
    std::vector<VdiskUsage> vdisks;   ///< by name
    std::uint64_t stored_bytes = 0;   ///< all chunks
    std::uint64_t plain_bytes = 0;    ///< what they are unpacked
    std::uint64_t trash_bytes = 0;    ///< in the trash
    std::uint64_t shortcut_bytes = 0; ///< needed by shortcuts only
    std::uint64_t unused_bytes = 0;   ///< needed by neither snapshot nor shortcut: sessions, or not yet collected
    std::uint64_t pack_bytes = 0;     ///< committed bytes of pack files, holes included
    std::uint64_t metadata_bytes = 0;
    std::uint64_t chunks = 0;
};
Result<Usage> usage(const View& view);

/// Of one snapshot's own layer, against all other layers.
struct SnapshotUsage {
    std::uint64_t own_bytes = 0;    ///< stored; would come free with this snapshot
    std::uint64_t shared_bytes = 0; ///< stored; other layers need them, too
};
Result<SnapshotUsage> snapshot_usage(const View& view, const SnapshotId& id);

} // namespace coppice::store
