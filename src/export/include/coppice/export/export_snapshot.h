#pragma once

#include "coppice/import/context.h"
#include "coppice/security/sha256.h"
#include "coppice/vdisk/layer_writer.h"
#include "coppice/vdisk/snapshot_trees.h"

#include <string>

namespace coppice::exports {

using imports::Context; ///< of which only `stop` and `progress` count here

enum class Format : unsigned char {
    Oci,  ///< a directory: an OCI image layout with one layer; `podman pull oci:PATH` takes it
    Tar,  ///< a pax archive of the whole tree
    Flat, ///< a read-only EROFS file system in one file, for a loop device or a disk
};

struct ExportOptions {
    Format format = Format::Oci;
    std::string path;      ///< where to; its directory must be there, the path itself not
    std::string reference; ///< Oci: the name in the index, such as "debian:12"; may be empty
};

struct Exported {
    std::string path;
    std::uint64_t bytes = 0;       ///< of all files that were written
    security::Sha256Digest digest; ///< Oci: of the manifest; else of the file
};

/// Writes a snapshot to a place outside of the store. The same snapshot gives the same bytes.
///
/// It is written beside its place under another name, ".NAME.partial-...", synced, and renamed: under the given name
/// there is nothing or all of it, whatever happens. Only a kill leaves the other name behind. What is written is only
/// its owner's to read. The caller holds a lease on the snapshot (storage::Storage::lease). Content comes from the
/// packs, every byte checked. Memory: the trees of the layers, and some MiB. Blocks. Any thread. Errors: NotFound
/// (snapshot, directory), Conflict (the path is there), Invalid (reference), Unavailable (disk full, stopped),
/// Unsupported (Oci: names that begin with .wh.), Corrupt (the store is damaged)
Result<Exported> export_snapshot(store::Store& store, vdisk::SnapshotTrees& trees, const store::SnapshotId& id,
                                 const ExportOptions& options, const Context& context);

/// What Format::Tar writes, to anywhere. Errors: as above, and those of `out`
Result<> write_snapshot_tar(vdisk::SnapshotTrees& trees, const store::SnapshotId& id, vdisk::ByteSink& out,
                            const Context& context);

} // namespace coppice::exports
