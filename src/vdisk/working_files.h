#pragma once

#include "coppice/store/snapshot.h"
#include "coppice/vdisk/tree.h"

#include <optional>
#include <string>
#include <string_view>

/// Where working layers and frozen directories lie below the store's directory, and what their roots look like.
namespace coppice::vdisk {

inline std::string frozen_name(const store::SnapshotId& id) { return "frozen/" + id.hex(); }
inline std::string working_name(const std::string& name) { return "working/" + name; }
/// The copy of its upper directory that is being made.
inline std::string capture_name(const std::string& name) { return working_name(name) + "/capture/upper"; }
/// Holds "upper" and "work".
inline std::string working_layer_name(const std::string& name) { return working_name(name) + "/layer"; }

/// Owner, mode, time and extended attributes of a root directory: overlayfs shows those of the topmost layer, so that
/// a new one must begin with those of the one below it.
struct RootLook {
    Attributes attributes;
    std::vector<Xattr> xattrs; ///< in byte order of the names; nothing of overlayfs's
    bool operator==(const RootLook&) const = default;
};
Result<RootLook> look_of(const Tree& tree);
Result<RootLook> look_of_directory(int directory);
/// Of the topmost layer or frozen directory of a snapshot's line.
Result<RootLook> look_of_snapshot(const store::Store& store, const store::SnapshotId& id);
/// Makes the directory `path`, which must not be there, with this look; it remembers the snapshot that it is for.
Result<> make_upper(int directory, const std::string& path, const RootLook& look, const store::SnapshotId& below);
/// The snapshot that the directory was made for; empty: nobody said.
Result<std::optional<store::SnapshotId>> find_below(int directory, const std::string& path);
/// Frozen still, and its directory is not there: a power cut took back the move, or it never was.
Result<bool> is_lost(const store::Store& store, const store::Snapshot& snapshot);

/// A frozen directory remembers the boot of the machine in which it was frozen: until it is durable a power cut may
/// have left anything in it. @param upper open for reading
Result<> note_boot(int upper);
Result<bool> is_of_this_boot(int frozen);
/// After a failed sync nothing tells what of a directory is on the disk, and the next sync succeeds without it. The
/// mark goes with the directory when it is frozen, or made a working layer's again.
Result<> mark_doubtful(int upper);
Result<bool> is_marked_doubtful(int upper);

/// Called at every step between which a kill must lose nothing. Tests set it.
extern void (*on_step)(std::string_view step);
inline void step(std::string_view name)
{
    if (on_step != nullptr) on_step(name);
}

} // namespace coppice::vdisk
