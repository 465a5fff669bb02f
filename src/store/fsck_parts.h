#pragma once

#include "chunk_rows.h"
#include "connection.h"
#include "coppice/store/fsck.h"
#include "coppice/store/layer.h"
#include "stage.h"

#include <string>
#include <vector>

namespace coppice::store {

/// One run of fsck: what was asked for, and what was found so far.
struct FsckRun {
    Store& store;
    FsckLevel level;
    const Watch& watch;
    FsckReport report;

    [[nodiscard]] bool repairs() const { return level == FsckLevel::Repair; }
    /// Counts what was read, and asks whether to go on.
    Result<> count(std::uint64_t read_bytes) { return watch(report.read_bytes += read_bytes); }
    void find(std::string what, std::string lost_for = {}, bool repaired = false)
    {
        report.findings.push_back({.what = std::move(what), .lost_for = std::move(lost_for), .repaired = repaired});
    }
};

/// All layers with their row ids.
struct LayerRow {
    std::int64_t id = 0;
    Layer layer;
};
Result<std::vector<LayerRow>> all_layers(const View& view);

/// Packs, their chunks, and what layers say of them: sizes (all levels), bytes (Full, Repair).
Result<> check_packs(FsckRun& run);
Result<> check_chunk_bytes(FsckRun& run);
/// Metadata, tables, blobs of layers against their rows.
Result<> check_layers(FsckRun& run);

/// Frozen directories, working layers and records of mounts against their rows.
Result<> check_directories(FsckRun& run);
/// Base, layer and (Crypto and up) signature of shortcuts. One that is wrong is taken away when repairing: it can be
/// made again.
Result<> check_shortcuts(FsckRun& run);

/// Repair: chunks that a table names and no row has, or that a row has at the wrong place, are looked for in all packs.
Result<> index_from_packs(FsckRun& run);

} // namespace coppice::store
