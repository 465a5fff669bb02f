#include "coppice/base/text.h"
#include "coppice/os/disk.h"
#include "coppice/os/file.h"
#include "coppice/security/sha256.h"
#include "coppice/store/blob.h"
#include "fsck_parts.h"
#include "guards.h"
#include "packs.h"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

namespace coppice::store {

namespace {

constexpr std::size_t kNamesShown = 5;

/// The snapshots that need a chunk, for a finding.
Result<std::string> needed_by(const Store& store, std::string_view condition, std::int64_t id)
{
    return store.read([&](const View& view) -> Result<std::string> {
        std::string names;
        std::size_t count = 0;
        auto query =
            TRY(view.db().query(cat("SELECT DISTINCT lower(hex(s.id)) FROM snapshot s WHERE s.layer ", condition), id));
        while (TRY(query.next()))
            if (++count <= kNamesShown) names += cat(count == 1 ? "" : ", ", query.text(0));
        if (count > kNamesShown) names += cat(" and ", count - kNamesShown, " more");
        return names;
    });
}
constexpr std::string_view kOfChunk = "IN (SELECT layer FROM layer_chunk WHERE chunk = ?)";
constexpr std::string_view kOfLayer = "= ?";

struct PackRow {
    std::uint64_t bytes = 0, end = 0, chunks = 0;
    bool closed = false;
};

Result<std::map<std::uint64_t, PackRow>> read_packs(const View& view)
{
    std::map<std::uint64_t, PackRow> packs;
    auto query =
        TRY(view.db().query("SELECT p.id, p.bytes, p.closed, (SELECT max(c.offset + c.stored_bytes) FROM chunk c "
                            "WHERE c.pack = p.id), (SELECT count(*) FROM chunk c WHERE c.pack = p.id) FROM pack p"));
    while (TRY(query.next()))
        packs.emplace(query.size(0), PackRow{.bytes = query.size(1),
                                             .end = query.size(3),
                                             .chunks = query.size(4),
                                             .closed = query.integer(2) != 0});
    return packs;
}

Result<std::vector<ChunkRow>> chunks_of_pack(const View& view, std::uint64_t pack)
{
    std::vector<ChunkRow> rows;
    auto query =
        TRY(view.db().query(cat("SELECT ", kChunkColumns, " FROM chunk WHERE pack = ? ORDER BY offset"), pack));
    while (TRY(query.next()))
        rows.push_back(TRY(read_chunk_row(query)));
    return rows;
}

} // namespace

Result<std::vector<LayerRow>> all_layers(const View& view)
{
    std::vector<LayerRow> layers;
    auto query = TRY(view.db().query(cat("SELECT ", kLayerColumns, ", id FROM layer")));
    while (TRY(query.next())) {
        LayerRow row;
        row.layer = TRY(read_layer_row(query));
        row.id = query.integer(8);
        layers.push_back(row);
    }
    return layers;
}

namespace {

/// A hole over a living chunk is a wrong row: the chunk's is proved by its bytes.
Result<> check_holes(FsckRun& run)
{
    struct Wrong {
        std::int64_t pack;
        HoleRow hole;
    };
    const auto wrong = TRY(run.store.read([](const View& view) -> Result<std::vector<Wrong>> {
        std::vector<Wrong> found;
        auto packs = TRY(view.db().query("SELECT DISTINCT pack FROM hole"));
        while (TRY(packs.next()))
            for (const HoleRow& hole : TRY(holes_of_pack(view.db(), packs.integer(0))))
                if (hole.overlaps) found.push_back({.pack = packs.integer(0), .hole = hole});
        return found;
    }));
    for (const Wrong& one : wrong) {
        if (run.repairs()) TRY(run.store.write([&](Txn& txn) { return remove_hole(txn.db(), one.pack, one.hole); }));
        run.find(cat("pack ", one.pack, ": a hole at byte ", one.hole.offset, " lies over a chunk"), {}, run.repairs());
    }
    return {};
}

} // namespace

Result<> check_packs(FsckRun& run)
{
    const auto packs = TRY(run.store.read([](const View& view) { return read_packs(view); }));
    step("packs read");
    const auto files = TRY(run.store.packs().list());
    // Others work meanwhile: what does not fit is looked at again.
    const auto later = TRY(run.store.read([](const View& view) { return read_packs(view); }));
    for (const auto& [number, pack] : packs) {
        run.report.chunks += pack.chunks;
        if (pack.end > pack.bytes) run.find(cat("pack ", number, ": a chunk lies behind its committed end"));
        const auto still = later.find(number);
        if (pack.chunks == 0 || still == later.end() || still->second.chunks == 0)
            continue; // goes with the next collection
        const auto file = files.find(number);
        if (file == files.end())
            run.find(cat("pack ", number, " is missing, with ", pack.chunks, " chunks"));
        else if (file->second < pack.bytes)
            run.find(cat("pack ", number, " is cut short: ", file->second, " of ", pack.bytes, " bytes"));
    }
    for (const auto& [number, bytes] : files)
        if (!packs.contains(number) && !later.contains(number))
            run.find(cat("pack ", number, " (", bytes, " bytes) is not in the database"));
    return check_holes(run);
}

Result<> check_chunk_bytes(FsckRun& run)
{
    const auto packs = TRY(run.store.read([](const View& view) { return read_packs(view); }));
    std::string plain(kChunkMaxBytes, '\0');
    for (const auto& [number, pack] : packs) {
        if (pack.chunks == 0) continue;
        const auto header = run.store.packs().read({.pack = number, .offset = 0}, kPackHeaderBytes);
        const auto sound = header ? check_pack_header(*header, number) : Result<>{fail(header.error())};
        if (!sound) run.find(sound.error().message());
        std::uint64_t end = 0;
        const auto rows = TRY(run.store.read([&](const View& view) { return chunks_of_pack(view, number); }));
        step("chunks of a pack read");
        for (const ChunkRow& row : rows) {
            if (row.place.offset < end)
                run.find(cat("pack ", number, ": two chunks overlap at byte ", row.place.offset));
            end = row.place.offset + row.chunk.stored_bytes;
            const auto stored = run.store.packs().read(row.place, row.chunk.stored_bytes);
            TRY(run.count(row.chunk.stored_bytes));
            const auto unpacked =
                stored ? unpack_chunk(row.chunk, *stored, plain.data()) : Result<>{fail(stored.error())};
            if (!unpacked)
                run.find(cat(unpacked.error().message(), " (pack ", number, ", byte ", row.place.offset, ")"),
                         TRY(needed_by(run.store, kOfChunk, row.id)));
        }
    }
    return {};
}

namespace {

/// Whether the layer's references are the chunks of its table; what is missing is put in when repairing.
Result<> check_references(FsckRun& run, const LayerRow& row, const ChunkTable& table)
{
    std::map<PlainDigest, std::size_t> wanted;
    for (std::size_t i = 0; i < table.size(); ++i)
        wanted.emplace(table[i].plain, i);
    std::uint64_t wrong = 0, extra = 0;
    TRY(run.store.read([&](const View& view) -> Result<> {
        auto query = TRY(view.db().query(cat("SELECT ", kChunkColumns,
                                             " FROM chunk WHERE id IN "
                                             "(SELECT chunk FROM layer_chunk WHERE layer = ?)"),
                                         row.id));
        while (TRY(query.next())) {
            const auto chunk = read_chunk_row(query);
            const auto found = chunk ? wanted.find(chunk->chunk.plain) : wanted.end();
            if (found == wanted.end())
                ++extra;
            else {
                if (table[found->second] != chunk->chunk) ++wrong;
                wanted.erase(found);
            }
        }
        return {};
    }));
    const std::string name = cat("layer ", row.layer.digest.hex());
    const auto lost_for = TRY(needed_by(run.store, kOfLayer, row.id));
    if (extra > 0) run.find(cat(name, ": ", extra, " of its chunks in the database are not in its table"));
    if (wrong > 0) run.find(cat(name, ": ", wrong, " of its chunks are described otherwise in the database"), lost_for);
    if (wanted.empty()) return {};
    std::uint64_t mended = 0;
    if (run.repairs())
        mended = TRY(run.store.write([&](Txn& txn) -> Result<std::uint64_t> {
            std::uint64_t count = 0;
            for (const auto& [plain, index] : wanted) {
                const auto chunk = TRY(find_chunk(txn.db(), plain));
                if (!chunk || chunk->chunk != table[index]) continue;
                TRY(txn.db().execute("INSERT OR IGNORE INTO layer_chunk(layer, chunk) VALUES(?, ?)", row.id,
                                     chunk->id));
                TRY(txn.db().execute("UPDATE chunk SET trashed = NULL WHERE id = ?", chunk->id));
                ++count;
            }
            return count;
        }));
    if (mended > 0) run.find(cat(name, ": ", mended, " chunks of its table were not in the database"), {}, true);
    if (mended < wanted.size())
        run.find(cat(name, ": ", wanted.size() - mended, " chunks of its table are not in the database"), lost_for);
    return {};
}

Result<> check_blob(FsckRun& run, const LayerRow& row)
{
    if (!TRY(has_blob(run.store, row.layer))) return {}; // none, or of another boot: it is made again before it is used
    const auto before = run.report.read_bytes;
    const auto scrubbed =
        scrub_blob(run.store, row.layer, run.repairs(), [&](std::uint64_t bytes) { return run.watch(before + bytes); });
    if (scrubbed) {
        run.report.read_bytes += row.layer.blob_bytes;
        if (scrubbed->bad > 0)
            run.find(cat("blob of layer ", row.layer.digest.hex(), ": ", scrubbed->bad, " chunks are damaged"), {},
                     run.repairs());
        return {};
    }
    TRY(run.count(0));                                   // or it was ended
    if (!TRY(has_blob(run.store, row.layer))) return {}; // or taken away meanwhile
    // It can be made again at any time, from packs that are looked at for themselves.
    if (run.repairs()) TRY(evict_blob(run.store, row.layer.digest));
    run.find(cat("blob of layer ", row.layer.digest.hex(), ": ", scrubbed.error().message()), {}, run.repairs());
    return {};
}

} // namespace

Result<> check_layers(FsckRun& run)
{
    const bool bytes = run.level == FsckLevel::Full || run.repairs();
    const auto layers = TRY(run.store.read([](const View& view) { return all_layers(view); }));
    step("layers read");
    for (const LayerRow& row : layers) {
        TRY(run.count(0));
        ++run.report.layers;
        const std::string path = cat("layers/", row.layer.digest.hex());
        const auto lost_for = TRY(needed_by(run.store, kOfLayer, row.id));
        if (row.layer.digest != layer_digest(row.layer.metadata, row.layer.root))
            run.find(cat(path, ": its digests in the database do not fit each other"), lost_for);
        if (!bytes) {
            const std::pair<const char*, std::uint64_t> files[] = {{"/metadata", row.layer.metadata_bytes},
                                                                   {"/chunks", row.layer.table_bytes}};
            for (const auto& [name, size] : files) {
                const auto status = TRY(os::find_status(run.store.directory(), path + name, false));
                if (!status || static_cast<std::uint64_t>(status->st_size) != size)
                    run.find(cat(path, name, status ? " has another size than in the database" : " is missing"),
                             lost_for);
            }
            continue;
        }
        if (const auto metadata = open_metadata(run.store, row.layer); !metadata)
            run.find(metadata.error().message(), lost_for);
        const auto table = load_table(run.store, row.layer);
        if (!table) {
            run.find(table.error().message(), lost_for);
            continue;
        }
        TRY(check_references(run, row, *table));
        TRY(check_blob(run, row));
    }
    return {};
}

// --- repair

namespace {

using Needed = std::unordered_map<PlainDigest, Chunk, security::HashOfName>;

/// What tables name and cannot be read where the database says.
Result<Needed> find_unreadable(FsckRun& run)
{
    Needed needed;
    std::string plain(kChunkMaxBytes, '\0');
    for (const LayerRow& row : TRY(run.store.read([](const View& view) { return all_layers(view); }))) {
        const auto table = load_table(run.store, row.layer);
        if (!table) continue; // reported by check_layers
        for (std::size_t i = 0; i < table->size(); ++i) {
            const Chunk& chunk = (*table)[i];
            TRY(run.count(0));
            const auto found = run.store.read([&](const View& view) { return find_chunk(view.db(), chunk.plain); });
            if (found && *found && (*found)->chunk == chunk) {
                const auto stored = run.store.packs().read((*found)->place, chunk.stored_bytes);
                if (stored && unpack_chunk(chunk, *stored, plain.data())) continue;
            }
            needed.emplace(chunk.plain, chunk);
        }
    }
    return needed;
}

/// The row of this chunk may say nonsense, and another one may claim its very place. That other one is wrong, then: it
/// goes if nobody needs it, or waits behind the end of all packs until its own place is found.
Result<> clear_place(Connection& db, const PlainDigest& plain, const Place& place)
{
    if (!TRY(find_chunk(db, plain))) return {}; // the row that claims the place becomes this chunk's
    TRY(db.execute("DELETE FROM chunk WHERE pack = ? AND offset = ? AND plain != ? AND id NOT IN (SELECT chunk FROM "
                   "layer_chunk) AND id NOT IN (SELECT chunk FROM pin)",
                   place.pack, place.offset, plain));
    TRY(db.execute("UPDATE chunk SET offset = ? + id WHERE pack = ? AND offset = ? AND plain != ?", kPackMaxBytes,
                   place.pack, place.offset, plain));
    return {};
}

Result<> enter_found(FsckRun& run, const Chunk& chunk, const Place& place, std::uint64_t pack_bytes)
{
    return run.store.write([&](Txn& txn) -> Result<> {
        Connection& db = txn.db();
        TRY(db.execute("INSERT INTO pack(id, bytes, closed) VALUES(?, ?, 1) ON CONFLICT(id) DO UPDATE SET "
                       "bytes = max(bytes, excluded.bytes)",
                       place.pack, pack_bytes));
        TRY(db.execute("DELETE FROM hole WHERE pack = ? AND offset = ?", place.pack, place.offset));
        TRY(clear_place(db, chunk.plain, place));
        TRY(db.execute(
            "INSERT INTO chunk(plain, stored, plain_bytes, stored_bytes, codec, pack, offset) "
            "VALUES(?, ?, ?, ?, ?, ?, ?) ON CONFLICT(plain) DO UPDATE SET stored = excluded.stored, "
            "plain_bytes = excluded.plain_bytes, stored_bytes = excluded.stored_bytes, codec = excluded.codec, "
            "pack = excluded.pack, offset = excluded.offset ON CONFLICT(pack, offset) DO UPDATE SET "
            "plain = excluded.plain, stored = excluded.stored, plain_bytes = excluded.plain_bytes, "
            "stored_bytes = excluded.stored_bytes, codec = excluded.codec",
            chunk.plain, chunk.stored, chunk.plain_bytes, chunk.stored_bytes, chunk.codec, place.pack, place.offset));
        return {};
    });
}

Result<std::uint64_t> search_pack(FsckRun& run, std::uint64_t number, std::uint64_t bytes, Needed& needed)
{
    const auto read = [&](std::uint64_t offset, std::size_t size, std::string& out) -> Result<> {
        const std::size_t there = offset >= bytes ? 0 : std::min<std::uint64_t>(size, bytes - offset);
        out = TRY(run.store.packs().read({.pack = number, .offset = offset}, there));
        return run.count(there);
    };
    std::uint64_t found = 0;
    const auto scanned = scan_pack(number, read, [&](const ScannedChunk& one) -> Result<> {
        const auto wanted = needed.find(one.chunk.plain);
        if (!one.sound || wanted == needed.end() || wanted->second != one.chunk) return {};
        TRY(enter_found(run, one.chunk, {.pack = number, .offset = one.offset}, one.offset + one.chunk.stored_bytes));
        needed.erase(wanted);
        ++found;
        return {};
    });
    if (!scanned && scanned.error().kind() != ErrorKind::Corrupt) return fail(scanned.error());
    return found; // a damaged pack is reported by the checks
}

} // namespace

Result<> index_from_packs(FsckRun& run)
{
    auto needed = TRY(find_unreadable(run));
    if (needed.empty()) return {};
    for (const auto& [number, bytes] : TRY(run.store.packs().list())) {
        const auto found = TRY(search_pack(run, number, bytes, needed));
        if (found > 0) run.find(cat(found, " chunks were found again in pack ", number), {}, true);
        if (needed.empty()) break;
    }
    return {};
}

} // namespace coppice::store
