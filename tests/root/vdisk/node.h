#pragma once

#include "coppice/store/ingest.h"
#include "coppice/store/seal.h"
#include "coppice/store/vdisk.h"
#include "coppice/vdisk/ingest_sink.h"
#include "coppice/vdisk/sealer.h"
#include "coppice/vdisk/snapshot_mounts.h"
#include "coppice/vdisk/snapshot_trees.h"
#include "coppice/vdisk/working_layers.h"
#include "layer_fixture.h"

#include <memory>
#include <string>
#include <vector>

namespace coppice::vdisk::test {

/// What a process of ours has open.
struct Node {
    explicit Node(const std::string& root, LayerPath best = LayerPath::Files)
        : store{value_of(store::Store::open(root))}, mounts{value_of(SnapshotMounts::make(*store, best))},
          working{*store, *mounts}, sealer{*store}, trees{*store, sealer}
    {
        value_of(mounts->forget_dead());
        recovered = value_of(working.recover());
        value_of(mounts->recover([this](const std::string& name) { return working.check_usable(name); }));
        unknown = value_of(sealer.recover());
    }
    std::unique_ptr<store::Store> store;
    std::unique_ptr<SnapshotMounts> mounts;
    WorkingLayers working;
    Sealer sealer;
    SnapshotTrees trees;
    WorkingLayers::Recovered recovered;
    std::vector<std::string> unknown;
};

/// A vdisk "debian" with one sealed snapshot of the tree. @param threads 1: the same calls each time
inline store::SnapshotId add_vdisk_of(Node& node, Tree& tree, unsigned threads = 0)
{
    const auto ingest = value_of(store::Ingest::begin(*node.store, {.key = "base", .threads = threads}));
    IngestSink sink{*ingest};
    value_of(write_layer(tree, sink, sink));
    const auto layer = value_of(ingest->finish());
    const auto id = security::make_random<store::SnapshotId>();
    value_of(node.store->write([&](store::Txn& txn) -> Result<> {
        const auto vdisk = TRY(store::add_vdisk(txn, "debian"));
        TRY(store::add_snapshot(
            txn, {.id = id, .vdisk = vdisk.id, .state = store::SnapshotState::Durable, .author = "tester"}));
        TRY(store::seal_snapshot(txn, id, &layer, node.store->node_key()));
        return {};
    }));
    return id;
}

/// The content of a file in a snapshot, from the packs.
inline std::string text_of(Node& node, const store::SnapshotId& id, const std::string& path)
{
    struct TextSink final : ByteSink {
        Result<> write(std::string_view bytes) override
        {
            text += bytes;
            return {};
        }
        std::string text;
    } out;
    value_of(SnapshotTrees::copy_file(value_of(node.trees.stack_of(id)), path, out));
    return out.text;
}

} // namespace coppice::vdisk::test
