#include "coppice/store/collect.h"

#include "chunk_rows.h"
#include "connection.h"
#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "guards.h"
#include "packs.h"
#include "stage.h"

#include <algorithm>
#include <vector>

namespace coppice::store {

void (*on_step)(std::string_view step) = nullptr;

namespace {

// A step's rows. Chunks that go are spread over the whole index of hashes, whatever their number: each step writes most
// of its pages. Fewer steps write less, and let other writers wait longer (two seconds).
constexpr std::size_t kStep = 200'000;

// What nobody needs, asked the same way when it is found, marked, and removed.
#define COPPICE_CHUNK_UNUSED                                              \
    "NOT EXISTS(SELECT 1 FROM layer_chunk lc WHERE lc.chunk = chunk.id) " \
    "AND NOT EXISTS(SELECT 1 FROM pin p WHERE p.chunk = chunk.id) "
#define COPPICE_LAYER_UNUSED                                         \
    "NOT EXISTS(SELECT 1 FROM snapshot s WHERE s.layer = layer.id) " \
    "AND NOT EXISTS(SELECT 1 FROM shortcut t WHERE t.layer = layer.id) "

class Collector {
public:
    Collector(Store& store, const CollectOptions& options) : store_{store}, options_{options}, now_{now()} {}

    Result<Collected> run()
    {
        TRY(end_old());
        TRY(trash_layers());
        TRY(remove_layers());
        TRY(remove_forgotten_files());
        TRY(trash_chunks());
        TRY(remove_chunks());
        TRY(remove_packs());
        TRY(punch_holes());
        return done_;
    }

private:
    [[nodiscard]] Time before(std::int64_t seconds) const { return after(now_, -seconds); }
    Result<std::vector<std::int64_t>> rows(std::string_view sql);
    Result<std::vector<std::int64_t>> rows(std::string_view sql, Time limit);
    template <typename Step> Result<> in_steps(const std::vector<std::int64_t>& all, Step step);
    Result<> end_old();
    Result<> trash_layers();
    Result<> remove_layers();
    Result<> remove_forgotten_files();
    Result<> trash_chunks();
    Result<> remove_chunks();
    Result<> remove_packs();
    Result<> punch_holes();

    Store& store_;
    const CollectOptions& options_;
    const Time now_;
    Collected done_;
};

Result<std::vector<std::int64_t>> read_ids(Query query)
{
    std::vector<std::int64_t> found;
    while (TRY(query.next()))
        found.push_back(query.integer(0));
    return found;
}

Result<std::vector<std::int64_t>> Collector::rows(std::string_view sql)
{
    return store_.read(
        [&](const View& view) -> Result<std::vector<std::int64_t>> { return read_ids(TRY(view.db().query(sql))); });
}

Result<std::vector<std::int64_t>> Collector::rows(std::string_view sql, Time limit)
{
    return store_.read([&](const View& view) -> Result<std::vector<std::int64_t>> {
        return read_ids(TRY(view.db().query(sql, limit)));
    });
}

/// Calls `step(txn, id)` for all, some thousand per transaction; it returns how many rows it changed.
template <typename Step> Result<> Collector::in_steps(const std::vector<std::int64_t>& all, Step step)
{
    for (std::size_t from = 0; from < all.size(); from += kStep) {
        const std::size_t to = std::min(all.size(), from + kStep);
        const Collected so_far = done_;
        TRY(store_.write([&](Txn& txn) -> Result<> {
            done_ = so_far; // it may run again
            for (std::size_t i = from; i < to; ++i)
                TRY(step(txn.db(), all[i]));
            return {};
        }));
    }
    return {};
}

/// Leases, idempotency keys, and sessions that nobody resumed.
Result<> Collector::end_old()
{
    auto& guard = store_.layer_guard();
    const std::lock_guard lock{guard.mutex}; // no ingest begins meanwhile
    struct Ended {
        std::uint64_t sessions = 0, leases = 0;
    };
    const auto ended = TRY(store_.write([&](Txn& txn) -> Result<Ended> {
        Ended count;
        count.leases = static_cast<std::uint64_t>(TRY(txn.db().execute("DELETE FROM lease WHERE expires <= ?", now_)));
        TRY(txn.db().execute("DELETE FROM request WHERE created < ?", before(options_.request_seconds)));
        std::vector<std::int64_t> old;
        {
            auto query =
                TRY(txn.db().query("SELECT id, key FROM session WHERE touched <= ?", before(options_.session_seconds)));
            while (TRY(query.next()))
                if (!guard.sessions.contains(std::string{query.text(1)})) old.push_back(query.integer(0));
        }
        for (const std::int64_t session : old)
            TRY(txn.db().execute("DELETE FROM session WHERE id = ?", session));
        count.sessions = old.size();
        return count;
    }));
    done_.given_up_sessions = ended.sessions;
    done_.ended_leases = ended.leases;
    return {};
}

Result<> Collector::trash_layers()
{
    const auto unused = TRY(rows("SELECT id FROM layer WHERE trashed IS NULL AND " COPPICE_LAYER_UNUSED));
    return in_steps(unused, [&](Connection& db, std::int64_t id) -> Result<> {
        const auto changed = TRY(db.execute(
            "UPDATE layer SET trashed = ? WHERE id = ? AND trashed IS NULL AND " COPPICE_LAYER_UNUSED, now_, id));
        done_.trashed_layers += static_cast<std::uint64_t>(changed);
        return {};
    });
}

Result<> Collector::remove_layers()
{
    const auto old =
        TRY(rows("SELECT id FROM layer WHERE trashed <= ? AND " COPPICE_LAYER_UNUSED, before(options_.grace_seconds)));
    step("layers found");
    auto& guard = store_.layer_guard();
    for (const std::int64_t id : old) {
        const std::lock_guard lock{guard.mutex}; // row and files go together: nobody stages the same layer meanwhile
        const auto removed = TRY(store_.write([&](Txn& txn) -> Result<std::optional<LayerDigest>> {
            LayerDigest digest;
            {
                auto query = TRY(txn.db().query(
                    "SELECT digest FROM layer WHERE id = ? AND trashed IS NOT NULL AND " COPPICE_LAYER_UNUSED, id));
                if (!TRY(query.next())) return std::optional<LayerDigest>{};
                digest = TRY(query.name<LayerDigest>(0));
            }
            if (guard.staged.contains(digest)) return std::optional<LayerDigest>{};
            TRY(txn.db().execute("DELETE FROM layer WHERE id = ?", id));
            return std::optional<LayerDigest>{digest};
        }));
        if (!removed) continue;
        TRY(remove_layer_files(store_, *removed));
        ++done_.removed_layers;
    }
    return {};
}

Result<> Collector::remove_forgotten_files()
{
    const std::lock_guard lock{store_.layer_guard().mutex};
    for (const std::string& path : TRY(forgotten_files(store_, before(options_.grace_seconds))))
        TRY(remove_forgotten(store_, path));
    return {};
}

Result<> Collector::trash_chunks()
{
    const auto unused = TRY(rows("SELECT id FROM chunk WHERE trashed IS NULL AND " COPPICE_CHUNK_UNUSED));
    return in_steps(unused, [&](Connection& db, std::int64_t id) -> Result<> {
        const auto changed = TRY(db.execute(
            "UPDATE chunk SET trashed = ? WHERE id = ? AND trashed IS NULL AND " COPPICE_CHUNK_UNUSED, now_, id));
        done_.trashed_chunks += static_cast<std::uint64_t>(changed);
        return {};
    });
}

Result<> Collector::remove_chunks()
{
    const auto old =
        TRY(rows("SELECT id FROM chunk WHERE trashed <= ? AND " COPPICE_CHUNK_UNUSED, before(options_.grace_seconds)));
    step("chunks found");
    return in_steps(old, [&](Connection& db, std::int64_t id) -> Result<> {
        // Since it was found somebody may have claimed it: what counts is what this transaction sees.
        auto query = TRY(db.query("DELETE FROM chunk WHERE id = ? AND trashed IS NOT NULL AND " COPPICE_CHUNK_UNUSED
                                  "RETURNING pack, offset, stored_bytes",
                                  id));
        if (!TRY(query.next())) return {};
        const auto pack = query.size(0), offset = query.size(1), bytes = query.size(2);
        TRY(query.next());
        TRY(db.execute("INSERT INTO hole(pack, offset, bytes) VALUES(?, ?, ?)", pack, offset, bytes));
        ++done_.removed_chunks;
        done_.freed_bytes += bytes;
        return {};
    });
}

/// Packs that nobody writes any more and that hold no living chunk. The rows go last: a file without a row is
/// nobody's, and a power cut could bring one back.
Result<> Collector::remove_packs()
{
    const auto empty =
        TRY(rows("SELECT id FROM pack WHERE closed = 1 AND NOT EXISTS(SELECT 1 FROM chunk c WHERE c.pack = pack.id)"));
    if (empty.empty()) return {};
    for (const std::int64_t id : empty)
        TRY(store_.packs().remove(static_cast<std::uint64_t>(id)));
    TRY(store_.packs().sync());
    return in_steps(empty, [&](Connection& db, std::int64_t id) -> Result<> {
        TRY(db.execute("DELETE FROM hole WHERE pack = ?", id));
        TRY(db.execute("DELETE FROM pack WHERE id = ?", id));
        ++done_.removed_packs;
        return {};
    });
}

/// Pack by pack. What a row says is not enough to punch a hole: a living chunk in the same place is the truth.
Result<> Collector::punch_holes()
{
    for (const std::int64_t id : TRY(rows("SELECT id FROM pack WHERE closed = 1 AND id IN (SELECT pack FROM hole)"))) {
        auto holes = TRY(store_.read([&](const View& view) { return holes_of_pack(view.db(), id); }));
        const auto wrong = std::erase_if(holes, [](const HoleRow& hole) { return hole.overlaps; });
        if (wrong > 0)
            log::warn("store", "holes that lie over chunks are not punched",
                      {{"pack", cat(id)}, {"holes", cat(wrong)}, {"do", "run coppice system fsck"}});
        TRY(store_.packs().punch(static_cast<std::uint64_t>(id), holes));
        step("holes punched");
        TRY(store_.write([&](Txn& txn) -> Result<> {
            for (const HoleRow& hole : holes)
                TRY(remove_hole(txn.db(), id, hole));
            return {};
        }));
        done_.punched += holes.size();
    }
    return {};
}

#undef COPPICE_CHUNK_UNUSED
#undef COPPICE_LAYER_UNUSED

} // namespace

Result<Collected> collect(Store& store, const CollectOptions& options)
{
    const std::lock_guard lock{store.layer_guard().collecting};
    return Collector{store, options}.run();
}

} // namespace coppice::store
