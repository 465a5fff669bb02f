#include "coppice/store/layer.h"

#include "chunk_rows.h"
#include "coppice/base/id.h"
#include "coppice/base/text.h"
#include "coppice/os/disk.h"
#include "coppice/os/features.h"
#include "coppice/os/file.h"
#include "coppice/security/sha256.h"
#include "coppice/store/blob.h"
#include "guards.h"
#include "stage.h"

#include <algorithm>
#include <array>
#include <unistd.h>

namespace coppice::store {

namespace {

constexpr std::string_view kBlobSuffix = ".blob";
constexpr std::size_t kTableMaxBytes = 104 + 80 * ChunkTable::kChunksMax;

std::string directory_of(const LayerDigest& digest) { return "layers/" + digest.hex(); }

Result<> write_synced(int directory, const std::string& path, std::string_view data)
{
    const auto file = TRY(os::open_at(directory, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0400));
    TRY(os::write_all(file.get(), data, path));
    return os::sync_data(file.get(), path);
}

/// Errors: Corrupt
Result<os::Fd> open_checked(int directory, const std::string& path, const MetadataDigest& digest, std::uint64_t bytes)
{
    auto file = TRY(os::open_at(directory, path, O_RDONLY | O_NOFOLLOW));
    security::Sha256 hash;
    std::string buffer(std::min<std::uint64_t>(bytes, 1U << 20), '\0');
    for (std::uint64_t at = 0; at < bytes; at += buffer.size()) {
        buffer.resize(std::min<std::uint64_t>(buffer.size(), bytes - at));
        TRY(os::read_at(file.get(), buffer.data(), buffer.size(), at, path));
        hash.update(buffer);
    }
    struct stat status{};
    if (::fstat(file.get(), &status) < 0) return fail_os(errno, cat("stat ", path));
    if (static_cast<std::uint64_t>(status.st_size) != bytes || hash.finish<MetadataDigest>() != digest)
        return fail(Error{ErrorKind::Corrupt, cat(path, " is damaged")}.hint("run coppice system fsck"));
    return file;
}

bool same_content(int directory, const std::string& path, std::string_view data)
{
    const auto content = os::read_file(directory, path, data.size());
    return content && *content == data;
}

Error missing(const LayerDigest& digest) { return Error{ErrorKind::NotFound, cat("there is no layer ", digest.hex())}; }

} // namespace

std::string blob_name(const LayerDigest& digest) { return cat("cache/", digest.hex(), kBlobSuffix); }

Result<Staged> stage_layer(Store& store, const MetadataFile& metadata, const ChunkTable& table, const std::string& blob)
{
    const auto encoded = table.encode();
    Layer layer;
    layer.metadata = metadata.digest;
    layer.table = encoded.digest;
    layer.root = table.root();
    layer.digest = layer_digest(layer.metadata, layer.root);
    layer.metadata_bytes = metadata.bytes;
    layer.table_bytes = encoded.bytes.size();
    layer.blob_bytes = table.blob_bytes();
    layer.chunks = table.size();

    const int root = store.directory();
    const std::string made = cat("tmp/layer-", random_hex(16));
    TRY(os::make_directory(root, made, 0700));
    TRY(os::rename_at(root, metadata.name, root, made + "/metadata"));
    TRY(write_synced(root, made + "/chunks", encoded.bytes));
    const auto directory = TRY(os::open_at(root, made, O_RDONLY | O_DIRECTORY));
    TRY(os::sync_directory(directory.get(), made));

    auto& guard = store.layer_guard();
    const std::lock_guard lock{guard.mutex};
    const std::string path = directory_of(layer.digest);
    if (open_checked(root, path + "/metadata", metadata.digest, metadata.bytes) &&
        same_content(root, path + "/chunks", encoded.bytes)) {
        TRY(os::remove_tree(root, made));
    } else {
        // Left by a killed process, or damaged: ours are the right ones.
        if (TRY(os::is_there(root, path))) TRY(os::rename_at(root, path, root, made + "-old"));
        TRY(os::rename_at(root, made, root, path));
        TRY(os::remove_tree(root, made + "-old"));
    }
    const auto layers = TRY(os::open_at(root, "layers", O_RDONLY | O_DIRECTORY));
    TRY(os::sync_directory(layers.get(), "layers/"));
    // One that is complete stays: its row would say of the new one, which nobody has synced, what is true of the old.
    const bool takes_blob = !blob.empty() && !TRY(has_blob(store, layer));
    if (takes_blob) TRY(os::rename_at(root, blob, root, blob_name(layer.digest)));
    guard.staged.insert(layer.digest);
    return Staged{.layer = layer, .has_blob = takes_blob};
}

Result<> remove_layer_files(const Store& store, const LayerDigest& digest)
{
    TRY(os::remove_file(store.directory(), blob_name(digest)));
    return os::remove_tree(store.directory(), directory_of(digest));
}

namespace {

/// The layer that a name below layers/ or cache/ belongs to.
std::optional<LayerDigest> layer_of_name(std::string_view name, std::string_view suffix)
{
    if (!name.ends_with(suffix)) return {};
    const auto digest = LayerDigest::parse(name.substr(0, name.size() - suffix.size()));
    return digest ? std::optional{*digest} : std::nullopt;
}

} // namespace

Result<std::vector<std::string>> forgotten_files(const Store& store, Time limit)
{
    struct Where {
        std::string_view directory, suffix, row;
    };
    constexpr std::array<Where, 2> kPlaces{
        {{"layers", "", "SELECT count(*) FROM layer WHERE digest = ?"},
         {"cache", kBlobSuffix, "SELECT count(*) FROM blob WHERE layer = (SELECT id FROM layer WHERE digest = ?)"}}};
    struct Candidate {
        std::string path;
        std::string_view row;
        LayerDigest digest;
    };
    const auto& staged = store.layer_guard().staged;
    std::vector<Candidate> old;
    for (const Where& place : kPlaces)
        for (const std::string& name : TRY(os::list_directory(store.directory(), std::string{place.directory}))) {
            const auto digest = layer_of_name(name, place.suffix);
            if (!digest || staged.contains(*digest)) continue;
            std::string path = cat(place.directory, '/', name);
            const auto status = TRY(os::find_status(store.directory(), path, false));
            if (status && Time{status->st_ctim.tv_sec * 1'000'000'000 + status->st_ctim.tv_nsec} <= limit)
                old.push_back({.path = std::move(path), .row = place.row, .digest = *digest});
        }
    return store.read([&](const View& view) -> Result<std::vector<std::string>> {
        std::vector<std::string> found;
        for (const Candidate& one : old)
            if (TRY(view.db().number(one.row, one.digest)) == 0) found.push_back(one.path);
        return found;
    });
}

Result<> remove_forgotten(const Store& store, const std::string& path)
{
    return os::remove_tree(store.directory(), path);
}

StagedLayer::StagedLayer(Store& store, const Layer& layer, std::int64_t session, std::vector<std::int64_t> chunks,
                         bool has_blob)
    : store_{&store}, layer_{layer}, session_{session}, chunks_{std::move(chunks)}, has_blob_{has_blob}
{
}

StagedLayer::StagedLayer(StagedLayer&& other) noexcept
    : store_{std::exchange(other.store_, nullptr)}, layer_{other.layer_}, session_{other.session_},
      chunks_{std::move(other.chunks_)}, has_blob_{other.has_blob_}
{
}

StagedLayer::~StagedLayer()
{
    if (store_ == nullptr) return;
    auto& guard = store_->layer_guard();
    const std::lock_guard lock{guard.mutex};
    if (const auto found = guard.staged.find(layer_.digest); found != guard.staged.end()) guard.staged.erase(found);
}

Result<std::int64_t> layer_row_id(const View& view, const LayerDigest& digest)
{
    auto query = TRY(view.db().query("SELECT id FROM layer WHERE digest = ?", digest));
    if (!TRY(query.next())) return fail(missing(digest));
    return query.integer(0);
}

Result<> add_layer(Txn& txn, const StagedLayer& staged)
{
    const Layer& layer = staged.layer_;
    Connection& db = txn.db();
    if (const auto known = TRY(find_layer(txn, layer.digest)); !known) {
        TRY(db.execute(cat("INSERT INTO layer(", kLayerColumns, ") VALUES(?, ?, ?, ?, ?, ?, ?, ?)"), layer.digest,
                       layer.metadata, layer.metadata_bytes, layer.table, layer.table_bytes, layer.root,
                       layer.blob_bytes, layer.chunks));
        const std::int64_t id = db.last_id();
        for (const std::int64_t chunk : staged.chunks_)
            TRY(db.execute("INSERT INTO layer_chunk(layer, chunk) VALUES(?, ?)", id, chunk));
    } else if (*known != layer) {
        return fail(
            Error{ErrorKind::Corrupt, cat("layer ", layer.digest.hex(), " is in the database with other digests")}.hint(
                "run coppice system fsck --full"));
    }
    const std::int64_t id = TRY(layer_row_id(txn, layer.digest));
    TRY(db.execute("UPDATE layer SET trashed = NULL WHERE id = ? AND trashed IS NOT NULL", id));
    if (staged.has_blob_)
        TRY(db.execute("INSERT INTO blob(layer, synced, boot) VALUES(?, 0, ?) "
                       "ON CONFLICT(layer) DO UPDATE SET synced = 0, boot = excluded.boot",
                       id, TRY(os::boot_id())));
    return end_session(db, staged.session_);
}

Result<Layer> read_layer_row(const Query& query)
{
    Layer layer;
    layer.digest = TRY(query.name<LayerDigest>(0));
    layer.metadata = TRY(query.name<MetadataDigest>(1));
    layer.metadata_bytes = query.size(2);
    layer.table = TRY(query.name<TableDigest>(3));
    layer.table_bytes = query.size(4);
    layer.root = TRY(query.name<security::MerkleRoot>(5));
    layer.blob_bytes = query.size(6);
    layer.chunks = query.size(7);
    return layer;
}

Result<std::optional<Layer>> find_layer(const View& view, const LayerDigest& digest)
{
    auto query = TRY(view.db().query(cat("SELECT ", kLayerColumns, " FROM layer WHERE digest = ?"), digest));
    if (!TRY(query.next())) return std::optional<Layer>{};
    return std::optional<Layer>{TRY(read_layer_row(query))};
}

Result<Layer> get_layer(const View& view, const LayerDigest& digest)
{
    auto layer = TRY(find_layer(view, digest));
    if (!layer) return fail(missing(digest));
    return *layer;
}

Result<ChunkTable> load_table(const Store& store, const Layer& layer)
{
    const std::string path = directory_of(layer.digest) + "/chunks";
    const auto bytes = TRY(os::read_file(store.directory(), path, kTableMaxBytes));
    auto table = TRY_DOING(path, ChunkTable::parse(bytes));
    // parse() has compared the trailer with the content; what is left is whether it is the table that was meant.
    if (bytes.size() != layer.table_bytes || !std::string_view{bytes}.ends_with(layer.table.raw()) ||
        table.root() != layer.root || table.blob_bytes() != layer.blob_bytes || table.size() != layer.chunks)
        return fail(Error{ErrorKind::Corrupt, cat(path, " is another layer's table")}.hint("run coppice system fsck"));
    return table;
}

Result<os::Fd> open_metadata(const Store& store, const Layer& layer)
{
    return open_checked(store.directory(), directory_of(layer.digest) + "/metadata", layer.metadata,
                        layer.metadata_bytes);
}

} // namespace coppice::store
