#include "coppice/store/blob.h"

#include "connection.h"
#include "coppice/base/id.h"
#include "coppice/base/text.h"
#include "coppice/os/disk.h"
#include "coppice/os/features.h"
#include "coppice/os/file.h"
#include "coppice/security/sha256.h"
#include "coppice/store/chunk_reader.h"
#include "guards.h"
#include "stage.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

namespace coppice::store {

namespace {

constexpr unsigned kThreadsMax = 64;

enum class Record : unsigned char { None, Written, Synced };

Result<Record> record_of(const Store& store, const LayerDigest& layer)
{
    const auto boot = TRY(os::boot_id());
    return store.read([&](const View& view) -> Result<Record> {
        auto query = TRY(view.db().query(
            "SELECT synced, boot FROM blob WHERE layer = (SELECT id FROM layer WHERE digest = ?)", layer));
        if (!TRY(query.next())) return Record::None;
        if (query.integer(0) == 1) return Record::Synced;
        return query.text(1) == boot ? Record::Written : Record::None;
    });
}

Result<> record_synced(Store& store, const LayerDigest& layer)
{
    const auto boot = TRY(os::boot_id());
    return store.write([&](Txn& txn) -> Result<> {
        const auto id = TRY(layer_row_id(txn, layer));
        TRY(txn.db().execute("INSERT INTO blob(layer, synced, boot) VALUES(?, 1, ?) "
                             "ON CONFLICT(layer) DO UPDATE SET synced = 1, boot = excluded.boot",
                             id, boot));
        return {};
    });
}

Result<std::optional<os::Fd>> find_complete(const Store& store, const Layer& layer)
{
    if (TRY(record_of(store, layer.digest)) == Record::None) return std::optional<os::Fd>{};
    const std::string name = blob_name(layer.digest);
    const auto status = TRY(os::find_status(store.directory(), name, false));
    if (!status || static_cast<std::uint64_t>(status->st_size) != layer.blob_bytes) return std::optional<os::Fd>{};
    return std::optional<os::Fd>{TRY(os::open_at(store.directory(), name, O_RDONLY | O_NOFOLLOW))};
}

/// Fills `file` with the blob, several chunks at a time.
Result<> unpack_all(const Store& store, const ChunkTable& table, const os::Fd& file, unsigned threads)
{
    const ChunkReader reader{store};
    std::atomic<std::size_t> next = 0;
    std::mutex mutex;
    std::optional<Error> failure;
    const auto work = [&]() -> Result<> {
        std::string plain(kChunkMaxBytes, '\0');
        for (std::size_t i = next++; i < table.size(); i = next++) {
            TRY(reader.read_plain(table[i], plain.data()));
            TRY(os::write_at(file.get(), std::string_view{plain}.substr(0, table[i].plain_bytes), table.offset(i),
                             "the blob"));
        }
        return {};
    };
    std::vector<std::thread> workers;
    workers.reserve(threads);
    for (unsigned i = 0; i < threads; ++i)
        workers.emplace_back([&] {
            auto done = work();
            if (done) return;
            next = table.size(); // the others stop, too
            const std::lock_guard lock{mutex};
            if (!failure) failure = std::move(done).error();
        });
    for (std::thread& worker : workers)
        worker.join();
    if (failure) return fail(*std::move(failure));
    return {};
}

} // namespace

Result<os::Fd> open_blob(Store& store, const Layer& layer, unsigned threads)
{
    if (auto complete = TRY(find_complete(store, layer))) return *std::move(complete);
    const auto table = TRY(load_table(store, layer));
    const std::string made = cat("tmp/blob-", random_hex(16));
    const auto filled = [&]() -> Result<> {
        const auto file = TRY(os::open_at(store.directory(), made, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
        const unsigned cores = std::max(1U, std::thread::hardware_concurrency());
        TRY(unpack_all(store, table, file, std::clamp(threads == 0 ? cores : threads, 1U, kThreadsMax)));
        TRY(os::sync_data(file.get(), made));
        const std::lock_guard lock{store.layer_guard().mutex}; // file and row come together
        TRY(os::rename_at(store.directory(), made, store.directory(), blob_name(layer.digest)));
        const auto cache = TRY(os::open_at(store.directory(), "cache", O_RDONLY | O_DIRECTORY));
        TRY(os::sync_directory(cache.get(), "cache/"));
        return record_synced(store, layer.digest);
    }();
    if (!filled) {
        (void)os::remove_file(store.directory(), made).has_value(); // the error that counts is the first
        return fail(Error{filled.error()}.with(cat("make the blob of layer ", layer.digest.hex())));
    }
    return os::open_at(store.directory(), blob_name(layer.digest), O_RDONLY | O_NOFOLLOW);
}

Result<bool> has_blob(const Store& store, const Layer& layer) { return TRY(find_complete(store, layer)).has_value(); }

namespace {

Result<> settle_blob(Store& store, const LayerDigest& layer)
{
    const std::string name = blob_name(layer);
    const auto sync = [&]() -> Result<> {
        const auto file = TRY(os::open_at(store.directory(), name, O_RDONLY | O_NOFOLLOW));
        TRY(os::sync_data(file.get(), name));
        const auto cache = TRY(os::open_at(store.directory(), "cache", O_RDONLY | O_DIRECTORY));
        return os::sync_directory(cache.get(), "cache/");
    };
    if (auto synced = sync(); !synced) {
        // What it holds is not known any more, and a second sync would say that all is well.
        TRY(evict_blob(store, layer));
        return synced;
    }
    return record_synced(store, layer);
}

} // namespace

Result<> settle_blobs(Store& store, const std::function<bool()>& go_on)
{
    const auto boot = TRY(os::boot_id());
    const auto written = TRY(store.read([&](const View& view) -> Result<std::vector<LayerDigest>> {
        std::vector<LayerDigest> found;
        auto query = TRY(view.db().query(
            "SELECT digest FROM layer WHERE id IN (SELECT layer FROM blob WHERE synced = 0 AND boot = ?)", boot));
        while (TRY(query.next()))
            found.push_back(TRY(query.name<LayerDigest>(0)));
        return found;
    }));
    Result<> done;
    for (const LayerDigest& layer : written) {
        if (!go_on()) break;
        auto settled = settle_blob(store, layer);
        if (settled || !TRY(store.read([&](const View& view) { return find_layer(view, layer); }))) continue; // removed
        if (done) done = std::move(settled);
    }
    return done;
}

Result<Scrubbed> scrub_blob(Store& store, const Layer& layer, bool repair, const Watch& watch)
{
    const auto table = TRY(load_table(store, layer));
    const std::string name = blob_name(layer.digest);
    const auto file = TRY(os::open_at(store.directory(), name, (repair ? O_RDWR : O_RDONLY) | O_NOFOLLOW));
    const ChunkReader reader{store};
    Scrubbed result;
    std::string plain(kChunkMaxBytes, '\0');
    for (std::size_t i = 0; i < table.size(); ++i) {
        const Chunk& chunk = table[i];
        TRY(watch(table.offset(i)));
        const auto got = os::read_at(file.get(), plain.data(), chunk.plain_bytes, table.offset(i), name);
        if (!got && got.error().kind() != ErrorKind::Corrupt) return fail(got.error());
        const std::string_view content = std::string_view{plain}.substr(0, chunk.plain_bytes);
        ++result.chunks;
        if (got && security::sha256<PlainDigest>(content) == chunk.plain) continue;
        ++result.bad;
        if (!repair) continue;
        TRY(reader.read_plain(chunk, plain.data()));
        TRY(os::write_at(file.get(), content, table.offset(i), name));
    }
    if (repair && result.bad > 0) TRY(os::sync_data(file.get(), name));
    return result;
}

Result<> evict_blob(Store& store, const LayerDigest& layer)
{
    const std::lock_guard lock{store.layer_guard().mutex};
    TRY(store.write([&](Txn& txn) -> Result<> {
        TRY(txn.db().execute("DELETE FROM blob WHERE layer = (SELECT id FROM layer WHERE digest = ?)", layer));
        return {};
    }));
    return os::remove_file(store.directory(), blob_name(layer));
}

} // namespace coppice::store
