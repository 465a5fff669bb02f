#include "coppice/store/ingest.h"

#include "chunk_rows.h"
#include "coppice/base/id.h"
#include "coppice/base/text.h"
#include "coppice/os/disk.h"
#include "coppice/os/file.h"
#include "coppice/security/sha256.h"
#include "guards.h"
#include "packs.h"
#include "stage.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <malloc.h>
#include <mutex>
#include <thread>
#include <unordered_map>

namespace coppice::store {

namespace {

constexpr std::uint64_t kQueueBytes = 16U << 20; // plain, between put and the pack
constexpr std::uint64_t kBatchBytes = 16U << 20; // of a transaction: stored bytes, or plain bytes of known chunks
constexpr std::size_t kBatchChunks = 4096;
constexpr std::size_t kBatchesWaiting = 2;
constexpr std::size_t kKeyMaxBytes = 128;
constexpr unsigned kThreadsMax = 64;

enum class Fate : unsigned char {
    New,   ///< to be stored
    Known, ///< the look-up found it: a hint, the batch's transaction decides
    Same,  ///< another chunk of this blob is the same
};

/// A chunk on its way: put -> workers -> appender -> committer.
struct Item {
    std::string plain;
    std::size_t index = 0;
    std::uint64_t offset = 0; // in the blob
    Chunk chunk;
    Fate fate = Fate::New;
    std::string stored; // when New and compressed
    Place place;
    bool ready = false;

    [[nodiscard]] std::string_view stored_view() const { return chunk.codec == Codec::Raw ? plain : stored; }
};
using ItemPtr = std::unique_ptr<Item>;

/// What becomes true with one transaction.
struct Batch {
    std::vector<ItemPtr> items;
    std::uint64_t retained = 0;
    os::Fd pack_file; // not open: nothing new
    std::uint64_t pack = 0, pack_bytes = 0;
    bool pack_closed = false;
};

/// What is known of a chunk of the table. `same_as` leads to the one that was stored.
struct Entry {
    Chunk chunk;
    std::int64_t row = 0;
    std::size_t same_as = SIZE_MAX;
};

} // namespace

struct Ingest::Parts {
    Parts(Store& the_store, const IngestOptions& the_options) : store{the_store}, options{the_options} {}

    Store& store;
    const IngestOptions options;
    std::int64_t session = 0;
    os::Fd blob;
    std::string blob_name;

    std::mutex mutex; // guards everything down to `failure`
    std::condition_variable changed;
    std::deque<Item*> todo;    // for workers
    std::deque<ItemPtr> order; // for the appender, in blob order
    std::deque<Batch> batches; // for the committer
    std::unordered_map<PlainDigest, std::size_t, security::HashOfName> seen;
    std::deque<Entry> entries;
    std::uint64_t queued_bytes = 0;
    bool ending = false, appended = false, stopping = false;
    Progress progress;
    std::optional<Error> failure;

    std::uint64_t put_bytes = 0; // the caller's thread only, as what follows
    MetadataFile metadata;
    os::Fd metadata_file;
    security::Sha256 metadata_hash;
    std::optional<PackWriter> pack, spare; // the appender's; the committer's
    std::vector<std::thread> threads;

    void start(unsigned workers);
    void stop();
    void note(Error error);
    void work();
    void append();
    void commit();
    Result<> examine(Item& item, Compressor& compressor);
    Result<> append_item(Item& item);
    Result<> close_pack(Batch& batch);
    Result<> hand_over(Batch& batch, bool last);
    Result<> commit_batch(Batch& batch);
    Result<PackWriter> new_pack();
    Result<std::vector<Item*>> enter_batch(Batch& batch);
    Result<> store_gone(const std::vector<Item*>& gone);
};

void Ingest::Parts::note(Error error)
{
    {
        const std::lock_guard lock{mutex};
        if (!failure) failure = std::move(error);
        stopping = true;
    }
    changed.notify_all();
}

void Ingest::Parts::start(unsigned workers)
{
    for (unsigned i = 0; i < workers; ++i)
        threads.emplace_back([this] { work(); });
    threads.emplace_back([this] { append(); });
    threads.emplace_back([this] { commit(); });
}

void Ingest::Parts::stop()
{
    {
        const std::lock_guard lock{mutex};
        stopping = true;
    }
    changed.notify_all();
    for (std::thread& thread : threads)
        thread.join();
    threads.clear();
}

// --- workers: hash, look up, compress

void Ingest::Parts::work()
{
    Compressor compressor{options.zstd_level};
    for (;;) {
        Item* item = nullptr;
        {
            std::unique_lock lock{mutex};
            changed.wait(lock, [&] { return stopping || !todo.empty() || ending; });
            if (stopping || todo.empty()) return;
            item = todo.front();
            todo.pop_front();
        }
        if (auto done = examine(*item, compressor); !done) return note(std::move(done).error());
        {
            const std::lock_guard lock{mutex};
            item->ready = true;
        }
        changed.notify_all();
    }
}

Result<> Ingest::Parts::examine(Item& item, Compressor& compressor)
{
    item.chunk.plain = security::sha256<PlainDigest>(item.plain);
    {
        const std::lock_guard lock{mutex};
        const auto [first, is_new] = seen.emplace(item.chunk.plain, item.index);
        if (!is_new) {
            item.fate = Fate::Same;
            entries[item.index].same_as = first->second;
            return {};
        }
    }
    const auto row = TRY(store.read([&](const View& view) { return find_chunk(view.db(), item.chunk.plain); }));
    if (row) {
        item.fate = Fate::Known;
        return {};
    }
    const auto stored = compressor.store(item.plain, item.chunk);
    if (item.chunk.codec != Codec::Raw) item.stored = stored;
    return {};
}

// --- appender: pack and blob, in blob order

Result<PackWriter> Ingest::Parts::new_pack()
{
    const auto number = TRY(store.write([](Txn& txn) { return reserve_pack(txn.db()); }));
    return store.packs().create(number);
}

Result<> Ingest::Parts::append_item(Item& item)
{
    if (blob.is_open()) TRY(os::write_at(blob.get(), item.plain, item.offset, "the blob"));
    if (item.fate != Fate::New) return {};
    if (!pack) pack = TRY(new_pack());
    item.place = TRY(pack->append(item.chunk, item.stored_view()));
    return {};
}

/// The batch's part of the pack goes to the kernel; the committer syncs it.
Result<> Ingest::Parts::hand_over(Batch& batch, bool last)
{
    const bool full = pack && !pack->has_room(kChunkMaxBytes);
    if (pack) {
        TRY(pack->flush());
        batch.pack_file = TRY(pack->duplicate());
        batch.pack = pack->number();
        batch.pack_bytes = pack->bytes();
        batch.pack_closed = full || last;
        if (batch.pack_closed) pack.reset();
    }
    std::unique_lock lock{mutex};
    changed.wait(lock, [&] { return stopping || batches.size() < kBatchesWaiting; });
    batches.push_back(std::move(batch));
    batch = Batch{};
    if (last) appended = true;
    lock.unlock();
    changed.notify_all();
    return {};
}

void Ingest::Parts::append()
{
    Batch batch;
    for (;;) {
        ItemPtr item;
        bool last = false;
        {
            std::unique_lock lock{mutex};
            changed.wait(lock, [&] {
                return stopping || (!order.empty() && order.front()->ready) || (ending && order.empty());
            });
            if (stopping) return;
            last = order.empty();
            if (!last) {
                item = std::move(order.front());
                order.pop_front();
            }
        }
        if (item) {
            if (auto done = append_item(*item); !done) return note(std::move(done).error());
            {
                const std::lock_guard lock{mutex};
                queued_bytes -= item->plain.size();
            }
            changed.notify_all();
            if (item->fate == Fate::New) {
                batch.retained += item->chunk.stored_bytes;
                std::string{}.swap(item->plain); // an assignment would keep the memory
                std::string{}.swap(item->stored);
            } else if (item->fate == Fate::Known) {
                batch.retained += item->plain.size(); // in case that it is gone
            }
            if (item->fate != Fate::Same) batch.items.push_back(std::move(item));
        }
        if (last || batch.retained >= kBatchBytes || batch.items.size() >= kBatchChunks ||
            (pack && !pack->has_room(kChunkMaxBytes)))
            if (auto done = hand_over(batch, last); !done) return note(std::move(done).error());
        if (last) return;
    }
}

// --- committer: sync, then the transaction

void Ingest::Parts::commit()
{
    for (;;) {
        Batch batch;
        {
            std::unique_lock lock{mutex};
            changed.wait(lock, [&] { return stopping || !batches.empty() || appended; });
            if (stopping || batches.empty()) return;
            batch = std::move(batches.front());
            batches.pop_front();
        }
        changed.notify_all();
        if (auto done = commit_batch(batch); !done) return note(std::move(done).error());
    }
}

Result<> Ingest::Parts::commit_batch(Batch& batch)
{
    if (batch.pack_file.is_open()) TRY(os::sync_data(batch.pack_file.get(), Packs::file_name(batch.pack)));
    return store_gone(TRY(enter_batch(batch)));
}

/// The known chunks that are not known any more.
Result<std::vector<Item*>> Ingest::Parts::enter_batch(Batch& batch)
{
    struct Done {
        std::vector<ChunkRow> rows; // as batch.items; id 0: gone
    };
    auto done = TRY(store.write([&](Txn& txn) -> Result<Done> {
        Done rows;
        if (batch.pack_file.is_open()) TRY(commit_pack(txn.db(), batch.pack, batch.pack_bytes, batch.pack_closed));
        for (const ItemPtr& item : batch.items) {
            if (item->fate == Fate::New) {
                rows.rows.push_back(TRY(enter_chunk(txn.db(), session, item->chunk, item->place)));
            } else {
                const auto row = TRY(claim_chunk(txn.db(), session, item->chunk.plain));
                rows.rows.push_back(row.value_or(ChunkRow{}));
            }
        }
        TRY(touch_session(txn.db(), session));
        return rows;
    }));
    std::vector<Item*> gone;
    const std::lock_guard lock{mutex};
    for (std::size_t i = 0; i < batch.items.size(); ++i) {
        Item& item = *batch.items[i];
        const ChunkRow& row = done.rows[i];
        if (row.id == 0) {
            gone.push_back(&item);
            continue;
        }
        entries[item.index].chunk = row.chunk;
        entries[item.index].row = row.id;
        if (item.fate == Fate::New) {
            ++progress.new_chunks;
            progress.new_stored_bytes += item.chunk.stored_bytes;
        }
    }
    return gone;
}

/// Collected between look-up and claim: rare, so one pack of its own and no hurry.
Result<> Ingest::Parts::store_gone(const std::vector<Item*>& gone)
{
    if (gone.empty()) return {};
    Compressor compressor{options.zstd_level};
    auto writer = TRY(new_pack());
    Batch batch;
    for (Item* const item : gone) {
        if (!writer.has_room(kChunkMaxBytes))
            return fail(ErrorKind::Conflict, "too many chunks were collected meanwhile");
        auto again = std::make_unique<Item>();
        again->index = item->index;
        again->chunk.plain = item->chunk.plain;
        again->place = TRY(writer.append(again->chunk, compressor.store(item->plain, again->chunk)));
        batch.items.push_back(std::move(again));
    }
    TRY(writer.flush());
    batch.pack_file = TRY(writer.duplicate());
    batch.pack = writer.number();
    batch.pack_bytes = writer.bytes();
    batch.pack_closed = true;
    return commit_batch(batch);
}

// --- the caller's side

Result<std::unique_ptr<Ingest>> Ingest::begin(Store& store, const IngestOptions& options)
{
    if (options.key.empty() || options.key.size() > kKeyMaxBytes)
        return fail(ErrorKind::Invalid, cat("the key of an ingest has 1 to ", kKeyMaxBytes, " bytes"));
    auto& guard = store.layer_guard();
    {
        const std::lock_guard lock{guard.mutex};
        if (!guard.sessions.insert(options.key).second)
            return fail(ErrorKind::Conflict, cat("an ingest with the key ", options.key, " is running"));
    }
    std::unique_ptr<Ingest> ingest{new Ingest{std::make_unique<Parts>(store, options)}};
    Parts& parts = *ingest->parts_; // from here on the destructor cleans up
    parts.session = TRY(store.write([&](Txn& txn) { return begin_session(txn.db(), options.key); }));
    if (options.write_blob) {
        parts.blob_name = cat("tmp/blob-", random_hex(16));
        parts.blob =
            TRY(os::open_at(store.directory(), parts.blob_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
    }
    parts.metadata.name = cat("tmp/metadata-", random_hex(16));
    parts.metadata_file =
        TRY(os::open_at(store.directory(), parts.metadata.name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0400));
    const unsigned cores = std::max(1U, std::thread::hardware_concurrency());
    parts.start(std::clamp(options.threads == 0 ? cores : options.threads, 1U, kThreadsMax));
    return ingest;
}

Ingest::Ingest(std::unique_ptr<Parts> parts) : parts_{std::move(parts)} {}

Ingest::~Ingest()
{
    parts_->stop();
    for (const std::string& name : {parts_->blob_name, parts_->metadata.name})
        if (!name.empty()) (void)os::remove_file(parts_->store.directory(), name).has_value(); // tmp/ is emptied anyway
    auto& guard = parts_->store.layer_guard();
    const std::lock_guard lock{guard.mutex};
    guard.sessions.erase(parts_->options.key);
}

Result<> Ingest::put(std::string_view plain)
{
    Parts& parts = *parts_;
    if (plain.empty() || plain.size() > kChunkMaxBytes || plain.size() % kBlockBytes != 0)
        return fail(ErrorKind::Invalid,
                    cat("a chunk of ", plain.size(), " bytes: must be a multiple of 4096 up to 256 KiB"));
    auto item = std::make_unique<Item>();
    item->plain = plain;
    item->offset = parts.put_bytes;
    parts.put_bytes += plain.size();
    {
        std::unique_lock lock{parts.mutex};
        parts.changed.wait(lock, [&] { return parts.stopping || parts.queued_bytes < kQueueBytes; });
        if (parts.failure) return fail(*parts.failure);
        COPPICE_CHECK(!parts.ending && !parts.stopping); // nothing is put behind finish()
        if (parts.entries.size() == ChunkTable::kChunksMax)
            return fail(ErrorKind::Unavailable, cat("a layer can have at most ", ChunkTable::kChunksMax, " chunks"));
        item->index = parts.entries.size();
        parts.entries.emplace_back();
        parts.queued_bytes += plain.size();
        ++parts.progress.chunks;
        parts.progress.plain_bytes += plain.size();
        parts.todo.push_back(item.get());
        parts.order.push_back(std::move(item));
    }
    parts.changed.notify_all();
    return {};
}

Result<> Ingest::put_metadata(std::string_view part)
{
    Parts& parts = *parts_;
    TRY(os::write_all(parts.metadata_file.get(), part, "the layer's metadata"));
    parts.metadata_hash.update(part);
    parts.metadata.bytes += part.size();
    return {};
}

Result<StagedLayer> Ingest::finish()
{
    Parts& parts = *parts_;
    {
        const std::lock_guard lock{parts.mutex};
        parts.ending = true;
    }
    parts.changed.notify_all();
    for (std::thread& thread : parts.threads)
        thread.join();
    parts.threads.clear();
    if (parts.failure) return fail(*parts.failure);

    // The threads have gone. What is known of millions of chunks moves from one form into the next: never all in both.
    decltype(parts.seen){}.swap(parts.seen);
    ::malloc_trim(0); // small pieces, of several threads: the allocator would keep them
    for (Entry& entry : parts.entries)
        if (entry.same_as != SIZE_MAX) entry = parts.entries[entry.same_as];
    ChunkTable table;
    std::vector<std::int64_t> rows;
    table.reserve(parts.entries.size());
    rows.reserve(parts.entries.size());
    for (; !parts.entries.empty(); parts.entries.pop_front()) {
        const Entry& entry = parts.entries.front();
        COPPICE_CHECK(entry.row != 0);
        TRY(table.add(entry.chunk));
        rows.push_back(entry.row);
    }
    ::malloc_trim(0);
    std::sort(rows.begin(), rows.end());
    rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
    TRY(os::sync_data(parts.metadata_file.get(), "the layer's metadata"));
    parts.metadata.digest = parts.metadata_hash.finish<MetadataDigest>();
    auto staged = TRY(stage_layer(parts.store, parts.metadata, table, parts.blob_name));
    if (staged.has_blob) parts.blob_name.clear();
    parts.metadata.name.clear();
    return StagedLayer{parts.store, staged.layer, parts.session, std::move(rows), staged.has_blob};
}

Ingest::Progress Ingest::progress() const
{
    const std::lock_guard lock{parts_->mutex};
    return parts_->progress;
}

Result<> abandon_ingest(Store& store, const std::string& key)
{
    auto& guard = store.layer_guard();
    const std::lock_guard lock{guard.mutex};
    if (guard.sessions.contains(key))
        return fail(ErrorKind::Conflict, cat("an ingest with the key ", key, " is running"));
    return store.write([&](Txn& txn) -> Result<> {
        TRY(txn.db().execute("DELETE FROM session WHERE key = ?", key));
        return {};
    });
}

} // namespace coppice::store
