#pragma once

#include "coppice/import/source.h"
#include "coppice/store/ingest.h"
#include "coppice/store/vdisk.h"
#include "coppice/vdisk/layer_writer.h"

#include <optional>

namespace coppice::imports {

struct ImportOptions {
    std::string vdisk; ///< its name; made if there is none, else it gets a further version
    std::string key;   ///< names the request: repeated, it goes on where it was, and takes effect once. 1 to 128 bytes
    std::string fingerprint = {}; ///< of what is asked for, beyond `vdisk`: the same key with another one is refused
    std::string author;
    std::string message = {};
    std::optional<store::VersionState> state = {}; ///< empty: production for a vdisk's first version, else maintenance
    unsigned threads = 0;                          ///< that hash and compress; 0: one per processor
};

struct ImportedVersion {
    store::VdiskId vdisk;
    store::SnapshotId snapshot;
    std::uint64_t number = 0; ///< of the version
    vdisk::LayerSize size;
    store::Ingest::Progress ingest; ///< nothing when the request had taken effect before
};

/// Makes a sealed snapshot of an imported tree and a version of a vdisk.
///
/// Layer, snapshot, manifest, version and, if it is new, the vdisk come true in one transaction at the end: before it
/// nobody sees anything, whatever happens. What was ingested before a failure or a stop is kept for the same key.
/// Memory: the tree, and 150 MiB at most. Blocks. Any thread.
/// Errors: Conflict (a branch has the vdisk's name; a file changed; the key belongs to another request or is in use),
/// Unavailable (stopped, disk full, limits), Invalid (names), those of the store
Result<ImportedVersion> import_image(store::Store& store, Imported imported, const ImportOptions& options,
                                     const Context& context);

/// The same from the source on; Context's spool and spool_path become the store's tmp/.
Result<ImportedVersion> import_image(store::Store& store, const Source& source, const SourceOptions& source_options,
                                     const ImportOptions& options, Context context);

} // namespace coppice::imports
