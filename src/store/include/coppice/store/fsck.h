#pragma once

#include "coppice/store/store.h"
#include "coppice/store/watch.h"

#include <string>
#include <vector>

namespace coppice::store {

enum class FsckLevel : std::uint8_t {
    Quick,  ///< database, references, sizes of files
    Full,   ///< and every byte: chunks, metadata, tables, blobs
    Crypto, ///< Quick, and every manifest: signature, parent, agreement with the rows
    Repair, ///< Full and Crypto, and mends what can be made again
};

/// Exit status as of fsck(8); they may be added.
enum class FsckExit : std::uint8_t {
    Clean = 0,
    Repaired = 1,
    Uncorrected = 4,
    Operational = 8,
    Usage = 16,
    Cancelled = 32
};

struct Finding {
    std::string what;     ///< one line, naming the thing
    std::string lost_for; ///< snapshots that cannot be read for it; empty: none
    bool repaired = false;
};

struct FsckReport {
    std::vector<Finding> findings;
    std::uint64_t chunks = 0, layers = 0, snapshots = 0; ///< looked at
    std::uint64_t read_bytes = 0;
    [[nodiscard]] int exit_status() const;
};

/// Looks for damage. Never removes a snapshot, whatever is wrong with it: it says so. Runs beside other work, but what
/// is added meanwhile may be missed; a collection waits until it is done, or is waited for. Ended by `watch`, it keeps
/// what it has mended.
/// Errors: what keeps it from looking at all (Operational), those of `watch`
Result<FsckReport> fsck(Store& store, FsckLevel level, const Watch& watch = unwatched);

} // namespace coppice::store
