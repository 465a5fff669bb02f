#pragma once

#include "../import/support.h"
#include "../vdisk/layer_fixture.h"
#include "coppice/export/export_snapshot.h"
#include "coppice/export/tar_export.h"
#include "coppice/import/import_image.h"
#include "coppice/store/ingest.h"
#include "coppice/store/layer.h"
#include "coppice/store/seal.h"

namespace coppice::exports::test {

using namespace coppice::imports::test;
using vdisk::test::describe;
using vdisk::test::TestTree;

struct TextSink final : vdisk::ByteSink {
    std::string text;
    Result<> write(std::string_view bytes) override
    {
        text += bytes;
        return {};
    }
};

/// A store with a snapshot in it.
struct ExportFixture : ImportFixture {
    std::unique_ptr<store::Store> store = value_of(store::Store::open(directory / "store"));
    vdisk::Sealer sealer{*store};
    vdisk::SnapshotTrees trees{*store, sealer};
    int imports_made = 0;

    store::SnapshotId add(vdisk::Tree tree, const std::string& config = {})
    {
        imports::Imported imported;
        imported.tree = std::move(tree);
        imported.config = config;
        const auto key = std::to_string(++imports_made);
        return value_of(imports::import_image(*store, std::move(imported),
                                              {.vdisk = "disk" + key, .key = key, .author = "tester"}, context))
            .snapshot;
    }
    /// A sealed child with this layer.
    store::SnapshotId add_over(const store::SnapshotId& parent, vdisk::Tree& tree)
    {
        struct Metadata final : vdisk::ByteSink {
            explicit Metadata(store::Ingest& the_ingest) : ingest{the_ingest} {}
            Result<> write(std::string_view bytes) override { return ingest.put_metadata(bytes); }
            store::Ingest& ingest;
        };
        const auto ingest = value_of(store::Ingest::begin(*store, {.key = "over"}));
        Metadata metadata{*ingest};
        value_of(vdisk::write_layer(tree, *ingest, metadata));
        const auto layer = value_of(ingest->finish());
        const auto id = security::make_random<store::SnapshotId>();
        const auto vdisk = snapshot(parent).vdisk;
        value_of(store->write([&](store::Txn& txn) -> Result<> {
            TRY(store::add_snapshot(txn, {.id = id,
                                          .vdisk = vdisk,
                                          .parent = parent,
                                          .state = store::SnapshotState::Durable,
                                          .author = "tester"}));
            TRY(store::seal_snapshot(txn, id, &layer, store->node_key()));
            return {};
        }));
        return id;
    }
    store::SnapshotId import(const std::string& source)
    {
        const auto key = std::to_string(++imports_made);
        return value_of(imports::import_image(*store, value_of(imports::parse_source(source)), {},
                                              {.vdisk = "disk" + key, .key = key, .author = "tester"}, context))
            .snapshot;
    }
    store::Snapshot snapshot(const store::SnapshotId& id)
    {
        return value_of(store->read([&](const store::View& view) { return store::get_snapshot(view, id); }));
    }
    std::string layer_of(const store::SnapshotId& id) { return snapshot(id).layer->hex(); }
    Result<Exported> write(const store::SnapshotId& id, Format format, const std::string& name,
                           const std::string& reference = {})
    {
        return export_snapshot(*store, trees, id, {.format = format, .path = directory / name, .reference = reference},
                               context);
    }
};

} // namespace coppice::exports::test
