#pragma once

#include "coppice/store/chunk_reader.h"
#include "coppice/store/collect.h"
#include "coppice/store/ingest.h"
#include "coppice/store/seal.h"
#include "coppice/store/store.h"
#include "coppice/store/vdisk.h"
#include "coppice/test/expect.h"
#include "coppice/test/temp_dir.h"

#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace coppice::test {

/// A chunk that differs by `seed` and shrinks by about a half; `seed` < 0: one that does not shrink.
inline std::string chunk_of(int seed, std::size_t bytes = 64U << 10)
{
    std::mt19937_64 random{static_cast<std::uint64_t>(seed)};
    std::string chunk(bytes, 'x');
    const std::size_t noise = seed < 0 ? bytes : bytes / 2;
    for (std::size_t i = 0; i + 8 <= noise; i += 8) {
        const auto value = random();
        std::memcpy(chunk.data() + i, &value, 8);
    }
    return chunk;
}

/// Puts chunks in and leaves the layer staged.
inline store::StagedLayer stage(store::Store& store, const std::vector<std::string>& chunks, const std::string& key,
                                const std::string& metadata = "metadata", bool blob = true)
{
    auto ingest = value_of(store::Ingest::begin(store, {.key = key, .write_blob = blob}));
    for (const std::string& chunk : chunks)
        value_of(ingest->put(chunk));
    value_of(ingest->put_metadata(metadata));
    return value_of(ingest->finish());
}

inline store::VdiskId make_vdisk(store::Store& store, const std::string& name = "debian")
{
    return value_of(store.write([&](store::Txn& txn) { return store::add_vdisk(txn, name); })).id;
}

/// A sealed snapshot of what was staged.
inline store::Snapshot add_sealed(store::Store& store, const store::VdiskId& vdisk, const store::StagedLayer& staged,
                                  std::optional<store::SnapshotId> parent = {})
{
    const auto id = security::make_random<store::SnapshotId>();
    return value_of(store.write([&](store::Txn& txn) -> Result<store::Snapshot> {
        TRY(store::add_snapshot(
            txn,
            {.id = id, .vdisk = vdisk, .parent = parent, .state = store::SnapshotState::Durable, .author = "tester"}));
        TRY(store::seal_snapshot(txn, id, &staged, store.node_key()));
        return store::get_snapshot(txn, id);
    }));
}

/// A sealed snapshot of `chunks`.
inline store::Snapshot import(store::Store& store, const store::VdiskId& vdisk, const std::vector<std::string>& chunks,
                              std::optional<store::SnapshotId> parent = {}, const std::string& metadata = "metadata")
{
    const std::string key = security::make_random<store::SnapshotId>().hex();
    return add_sealed(store, vdisk, stage(store, chunks, key, metadata), parent);
}

inline store::Layer layer_of(const store::Store& store, const store::Snapshot& snapshot)
{
    return value_of(store.read([&](const store::View& view) { return store::get_layer(view, *snapshot.layer); }));
}

/// The blob of a sealed snapshot, read from the packs.
inline Result<std::string> read_back(const store::Store& store, const store::Snapshot& snapshot)
{
    const auto table = TRY(store::load_table(store, layer_of(store, snapshot)));
    const store::ChunkReader reader{store};
    std::string blob(table.blob_bytes(), '\0');
    for (std::size_t i = 0; i < table.size(); ++i)
        TRY(reader.read_plain(table[i], blob.data() + table.offset(i)));
    return blob;
}

inline std::string joined(const std::vector<std::string>& chunks)
{
    std::string all;
    for (const std::string& chunk : chunks)
        all += chunk;
    return all;
}

/// A store that goes with the object.
struct StoreFixture {
    TempDir directory;
    std::string root = directory / "store";
    std::unique_ptr<store::Store> store = value_of(store::Store::open(root));
    void reopen()
    {
        store.reset();
        store = value_of(store::Store::open(root));
    }
};

} // namespace coppice::test
