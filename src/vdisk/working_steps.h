#pragma once

#include "coppice/store/snapshot.h"
#include "coppice/vdisk/working_layers.h"

#include <optional>
#include <string>

/// What is begun with a working layer, noted in its directory so that the next start can finish or undo it.
/// See docs/design/storage.md, "Freezing".
namespace coppice::vdisk {

inline constexpr const char* kUpper = "layer/upper";
/// Of a copy of the upper directory that is being made: "upper", and "links", see UpperCopy.
inline constexpr const char* kCapture = "capture";

struct Step {
    enum class Kind : unsigned char { Freeze, Rollback, Remove, Capture };
    Kind kind = Kind::Remove;
    store::SnapshotId snapshot; ///< that is made, or gone back to
};

Result<> note_step(int directory, const Step& step);
Result<std::optional<Step>> find_step(int directory);
Result<> forget_step(int directory);

/// Out of the way at once, whatever it holds; `sweep` removes it.
Result<> discard_directory(int directory, const std::string& path);

Result<os::Fd> open_layer(const store::Store& store, const std::string& name);

/// What an earlier request with the note's key has made.
Result<std::optional<store::Snapshot>> find_made(const store::Store& store, const FreezeNote& note);
/// The row of a snapshot whose directory lies in its place, with all that is to be entered with it.
Result<store::Snapshot> add_frozen(store::Txn& txn, const store::SnapshotId& id, const store::Working& working,
                                   const FreezeNote& note);

} // namespace coppice::vdisk
