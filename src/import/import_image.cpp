#include "coppice/import/import_image.h"

#include "coppice/base/id.h"
#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/store/seal.h"
#include "coppice/store/snapshot.h"
#include "coppice/vdisk/ingest_sink.h"

#include <nlohmann/json.hpp>

namespace coppice::imports {

namespace {

/// What the files of a tree take in blocks, their holes included.
std::uint64_t bytes_in_blocks(const vdisk::Tree& tree)
{
    std::uint64_t sum = 0;
    std::vector<bool> seen(tree.inode_count());
    std::vector<vdisk::InodeId> ahead{vdisk::Tree::root()};
    while (!ahead.empty()) {
        const auto directory = ahead.back();
        ahead.pop_back();
        for (const auto& entry : tree.entries(directory)) {
            if (tree.is_directory(entry.inode)) ahead.push_back(entry.inode);
            auto known = seen[static_cast<std::size_t>(entry.inode)];
            if (tree.is_file(entry.inode) && !known)
                sum += (tree.size(entry.inode) + store::kBlockBytes - 1) / store::kBlockBytes * store::kBlockBytes;
            known = true;
        }
    }
    return sum;
}

Result<> check_name_is_free(const store::View& view, const std::string& name)
{
    if (!TRY(store::find_working(view, name))) return {};
    return fail(Error{ErrorKind::Conflict, cat(printable(name), " is the name of a branch")}.hint(
        "branches and vdisks share their names: choose another one"));
}

/// All that becomes true. Errors: as import_image
Result<std::string> commit(store::Txn& txn, const store::StagedLayer& staged, const store::SnapshotId& id,
                           const Imported& imported, const ImportOptions& options, const vdisk::LayerSize& size,
                           const security::SigningKey& key)
{
    auto vdisk = TRY(store::find_vdisk(txn, options.vdisk));
    const bool first = !vdisk;
    if (first) {
        TRY(check_name_is_free(txn, options.vdisk));
        vdisk = TRY(store::add_vdisk(txn, options.vdisk));
    }
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
    const auto otherwise = first ? store::VersionState::Production : store::VersionState::Maintenance;
    const auto version = TRY(store::add_version(txn, vdisk->id, id, options.state.value_or(otherwise)));
    return nlohmann::json{{"vdisk", vdisk->id.hex()},      {"snapshot", id.hex()},
                          {"version", version.number},     {"metadata_bytes", size.metadata_bytes},
                          {"blob_bytes", size.blob_bytes}, {"chunks", size.chunks},
                          {"inodes", size.inodes},         {"file_bytes", size.file_bytes}}
        .dump();
}

Result<> check_free(store::Store& store, const std::string& name)
{
    TRY(check_name(name));
    return store.read([&](const store::View& view) { return check_name_is_free(view, name); });
}

store::RequestKey request_of(const ImportOptions& options)
{
    return {.key = options.key, .fingerprint = cat("import into ", options.vdisk, '\n', options.fingerprint)};
}

Result<ImportedVersion> parse_outcome(const std::string& text)
{
    const auto json = TRY(parse_json(text));
    const JsonNode node{json};
    ImportedVersion version;
    version.vdisk = TRY(store::VdiskId::parse(TRY(TRY(node.get("vdisk")).text())));
    version.snapshot = TRY(store::SnapshotId::parse(TRY(TRY(node.get("snapshot")).text())));
    version.number = TRY(TRY(node.get("version")).unsigned_integer());
    version.size.metadata_bytes = TRY(TRY(node.get("metadata_bytes")).unsigned_integer());
    version.size.blob_bytes = TRY(TRY(node.get("blob_bytes")).unsigned_integer());
    version.size.chunks = TRY(TRY(node.get("chunks")).unsigned_integer());
    version.size.inodes = TRY(TRY(node.get("inodes")).unsigned_integer());
    version.size.file_bytes = TRY(TRY(node.get("file_bytes")).unsigned_integer());
    return version;
}

} // namespace

Result<ImportedVersion> import_image(store::Store& store, Imported imported, const ImportOptions& options,
                                     const Context& context)
{
    TRY(check_free(store, options.vdisk));
    auto ingest = TRY(store::Ingest::begin(store, {.key = options.key, .threads = options.threads}));
    const auto total = bytes_in_blocks(imported.tree);
    vdisk::IngestSink sink{*ingest, [&](std::uint64_t bytes) -> Result<> {
                               TRY(check_stop(context.stop));
                               context.progress({.stage = "storing", .bytes = bytes, .total_bytes = total});
                               return {};
                           }};
    const auto size = TRY(vdisk::write_layer(imported.tree, sink, sink));
    const auto staged = TRY(ingest->finish());
    TRY(check_stop(context.stop)); // from here on it is done rather than undone
    context.progress({.stage = "sealing"});
    const auto id = security::make_random<store::SnapshotId>();
    const auto outcome = TRY(store.write_once(request_of(options), [&](store::Txn& txn) {
        return commit(txn, staged, id, imported, options, size, store.node_key());
    }));
    auto version = TRY(parse_outcome(outcome));
    version.ingest = ingest->progress();
    ingest.reset();
    // The same request was answered before: what this try has pinned nobody needs.
    if (version.snapshot != id) TRY(store::abandon_ingest(store, options.key));
    return version;
}

Result<ImportedVersion> import_image(store::Store& store, const Source& source, const SourceOptions& source_options,
                                     const ImportOptions& options, Context context)
{
    const auto before =
        TRY(store.read([&](const store::View& view) { return store::find_outcome(view, request_of(options)); }));
    if (before) return parse_outcome(*before);
    TRY(check_free(store, options.vdisk)); // before hours are spent
    const auto directory = TRY(os::open_at(store.directory(), "tmp", O_RDONLY | O_DIRECTORY));
    context.spool = directory.get();
    context.spool_path = store.root() + "/tmp";
    auto imported = TRY(read_source(source, source_options, context));
    return import_image(store, std::move(imported), options, context);
}

} // namespace coppice::imports
