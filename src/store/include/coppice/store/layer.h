#pragma once

#include "coppice/os/fd.h"
#include "coppice/store/chunk_table.h"
#include "coppice/store/store.h"

#include <optional>
#include <vector>

namespace coppice::store {

/// What the database says of a layer. Metadata and table are files: layers/DIGEST/metadata and layers/DIGEST/chunks.
struct Layer {
    LayerDigest digest;
    MetadataDigest metadata;
    TableDigest table;
    security::MerkleRoot root;
    std::uint64_t metadata_bytes = 0, table_bytes = 0, blob_bytes = 0, chunks = 0;
    friend bool operator==(const Layer&, const Layer&) = default;
};

/// A layer whose files are on disk and whose chunks are pinned, but which is not in the database yet. As long as the
/// object lives nobody removes the files. Made by Ingest::finish.
class StagedLayer {
public:
    StagedLayer(Store& store, const Layer& layer, std::int64_t session, std::vector<std::int64_t> chunks,
                bool has_blob);
    StagedLayer(StagedLayer&& other) noexcept;
    StagedLayer& operator=(StagedLayer&&) = delete;
    ~StagedLayer();
    [[nodiscard]] const Layer& layer() const { return layer_; }

private:
    friend Result<> add_layer(Txn& txn, const StagedLayer& staged);
    Store* store_;
    Layer layer_;
    std::int64_t session_;
    std::vector<std::int64_t> chunks_;
    bool has_blob_;
};

/// Enters a staged layer; its session and pins end in the same transaction. One that is known already is taken out of
/// the trash. It stays as long as a snapshot names it, which the same transaction had better say.
Result<> add_layer(Txn& txn, const StagedLayer& staged);

/// Errors: NotFound
Result<Layer> get_layer(const View& view, const LayerDigest& digest);
Result<std::optional<Layer>> find_layer(const View& view, const LayerDigest& digest);

/// The table of a layer, checked against its digest. Errors: NotFound, Corrupt
Result<ChunkTable> load_table(const Store& store, const Layer& layer);
/// The metadata file, open for reading, checked against its digest. Errors: NotFound, Corrupt
Result<os::Fd> open_metadata(const Store& store, const Layer& layer);

} // namespace coppice::store
