#pragma once

#include "coppice/store/snapshot.h"

#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

/// What was acknowledged, said to the world outside the machine before anything else is done; and what the lines of
/// the lives before this one demand.
namespace coppice::power {

/// Prints "@ line" at once. Any thread.
void say(const std::string& line);

/// Lines, each said *after* what it tells has been acknowledged, but for those that begin something ("begin ...").
///
///   snapshot ID SEED      there is one, frozen
///   durable ID            and all that it comes from
///   sealed ID
///   begin accept ID       what a power cut left of it is what shall be kept
///   begin remove ID       from now on it may be gone
///   removed ID
///   begin KIND NAME       tag, working or version NAME is about to be set
///   KIND NAME ID|-        it is set; "-": there is none
struct Ledger {
    static Ledger read(const std::string& path);

    struct Entry {
        std::uint64_t seed = 0;
        store::SnapshotState state = store::SnapshotState::Frozen;
        bool accepted = false, removing = false, removed = false;
    };
    std::map<store::SnapshotId, Entry> snapshots;
    struct Name {
        std::optional<store::SnapshotId> snapshot;
        bool unsure = false; ///< something was begun and not acknowledged
    };
    std::map<std::string, Name> names; ///< by "KIND NAME"
};

} // namespace coppice::power
