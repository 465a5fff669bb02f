#include "coppice/import/import_image.h"

#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/store/seal.h"
#include "coppice/store/snapshot.h"
#include "coppice/vdisk/ingest_sink.h"

#include <nlohmann/json.hpp>

namespace coppice::imports {

namespace {

/// All that becomes true. Errors: as import_image
Result<std::string> commit(store::Txn& txn, const store::StagedLayer& staged, const store::SnapshotId& id,
                           const Imported& imported, const ImportOptions& options, const vdisk::LayerSize& size,
                           const security::SigningKey& key)
{
    auto vdisk = TRY(store::find_vdisk(txn, options.vdisk));
    const auto state =
        options.state.value_or(vdisk ? store::VersionState::Maintenance : store::VersionState::Production);
    if (!vdisk) vdisk = TRY(store::add_vdisk(txn, options.vdisk));
    store::NewSnapshot wanted;
    wanted.id = id;
    wanted.vdisk = vdisk->id;
    wanted.state = store::SnapshotState::Durable;
    wanted.bytes = size.file_bytes;
    wanted.author = options.author;
    wanted.message = options.message;
    wanted.config = imported.config;
    TRY(store::add_snapshot(txn, wanted));
    TRY(store::seal_snapshot(txn, id, &staged, key));
    const auto version = TRY(store::add_version(txn, vdisk->id, id, state));
    return nlohmann::json{{"vdisk", vdisk->id.hex()}, {"snapshot", id.hex()}, {"version", version.number}}.dump();
}

Result<ImportedVersion> parse_outcome(const std::string& text)
{
    const auto json = TRY(parse_json(text));
    const JsonNode node{json};
    ImportedVersion version;
    version.vdisk = TRY(store::VdiskId::parse(TRY(TRY(node.get("vdisk")).text())));
    version.snapshot = TRY(store::SnapshotId::parse(TRY(TRY(node.get("snapshot")).text())));
    version.number = TRY(TRY(node.get("version")).unsigned_integer());
    return version;
}

} // namespace

Result<ImportedVersion> import_image(store::Store& store, Imported imported, const ImportOptions& options,
                                     const Context& context)
{
    auto ingest = TRY(store::Ingest::begin(store, {.key = options.key, .threads = options.threads}));
    vdisk::IngestSink sink{*ingest, [&](std::uint64_t bytes) -> Result<> {
                               TRY(check_stop(context.stop));
                               context.progress({.stage = "storing", .bytes = bytes});
                               return {};
                           }};
    const auto size = TRY(vdisk::write_layer(imported.tree, sink, sink));
    const auto staged = TRY(ingest->finish());
    TRY(check_stop(context.stop)); // from here on it is done rather than undone
    context.progress({.stage = "sealing"});
    const auto id = security::make_random<store::SnapshotId>();
    const store::RequestKey request{.key = options.key, .fingerprint = cat("import into ", options.vdisk)};
    const auto outcome = TRY(store.write_once(
        request, [&](store::Txn& txn) { return commit(txn, staged, id, imported, options, size, store.node_key()); }));
    auto version = TRY(parse_outcome(outcome));
    version.size = size;
    version.ingest = ingest->progress();
    ingest.reset();
    // The same request was answered before: what this try has pinned nobody needs.
    if (version.snapshot != id) TRY(store::abandon_ingest(store, options.key));
    return version;
}

Result<ImportedVersion> import_image(store::Store& store, const Source& source, const SourceOptions& source_options,
                                     const ImportOptions& options, Context context)
{
    const auto directory = TRY(os::open_at(store.directory(), "tmp", O_RDONLY | O_DIRECTORY));
    context.spool = directory.get();
    context.spool_path = store.root() + "/tmp";
    auto imported = TRY(read_source(source, source_options, context));
    return import_image(store, std::move(imported), options, context);
}

} // namespace coppice::imports
