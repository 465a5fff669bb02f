#pragma once

#include "coppice/store/layer.h"

#include <string>
#include <vector>

namespace coppice::store {

class Query;

/// Metadata that is written and synced already.
struct MetadataFile {
    std::string name; ///< a path in the store's directory, below tmp/
    MetadataDigest digest;
    std::uint64_t bytes = 0;
};

struct Staged {
    Layer layer;
    bool has_blob = false; ///< a new one: its row says nothing of it yet
};
/// Puts metadata and table of a layer below layers/, synced, and the blob (a path in the store's directory, or empty)
/// into cache/, where there is no complete one. The layer's digest is in the guard's list of staged ones afterwards,
/// for a StagedLayer to take out.
Result<Staged> stage_layer(Store& store, const MetadataFile& metadata, const ChunkTable& table,
                           const std::string& blob);

/// Files of a layer that the database does not know any more. The guard's mutex is held.
Result<> remove_layer_files(const Store& store, const LayerDigest& digest);

/// What lies below layers/ and cache/ since before `limit` and is nobody's: left by a kill, or by a layer that was
/// written and never entered. Paths in the store's directory. The guard's mutex is held.
Result<std::vector<std::string>> forgotten_files(const Store& store, Time limit);
Result<> remove_forgotten(const Store& store, const std::string& path);

/// From a row of `kLayerColumns`.
Result<Layer> read_layer_row(const Query& query);
inline constexpr const char* kLayerColumns =
    "digest, metadata, metadata_bytes, tbl, tbl_bytes, root, blob_bytes, chunks";

std::string blob_name(const LayerDigest& digest);                               ///< below the store's directory
Result<std::int64_t> layer_row_id(const View& view, const LayerDigest& digest); ///< Errors: NotFound

} // namespace coppice::store
