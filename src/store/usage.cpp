#include "coppice/store/usage.h"

#include "connection.h"
#include "coppice/base/text.h"

#include <algorithm>

namespace coppice::store {

namespace {

/// Chunk by chunk, with the vdisks that need it: rows come sorted by chunk, so that nothing has to be kept.
class Sharing {
public:
    explicit Sharing(std::vector<VdiskUsage>& vdisks) : vdisks_{vdisks} {}

    void add(std::int64_t chunk, std::uint64_t bytes, std::size_t vdisk)
    {
        if (chunk != chunk_) finish();
        chunk_ = chunk;
        bytes_ = bytes;
        if (std::find(users_.begin(), users_.end(), vdisk) == users_.end()) users_.push_back(vdisk);
    }
    void finish()
    {
        if (users_.size() == 1)
            vdisks_[users_.front()].own_bytes += bytes_;
        else
            for (const std::size_t user : users_)
                share(user);
        users_.clear();
    }

private:
    void share(std::size_t user)
    {
        vdisks_[user].shared_bytes += bytes_;
        for (const std::size_t other : users_)
            if (other != user) vdisks_[user].shared_with[vdisks_[other].name] += bytes_;
    }
    std::vector<VdiskUsage>& vdisks_;
    std::int64_t chunk_ = 0;
    std::uint64_t bytes_ = 0;
    std::vector<std::size_t> users_;
};

} // namespace

Result<Usage> usage(const View& view)
{
    Connection& db = view.db();
    Usage result;
    std::map<std::int64_t, std::size_t> place; // by row
    {
        auto query = TRY(db.query("SELECT v.id, v.name, (SELECT count(*) FROM snapshot s WHERE s.vdisk = v.id) "
                                  "FROM vdisk v ORDER BY v.name"));
        while (TRY(query.next())) {
            place.emplace(query.integer(0), result.vdisks.size());
            VdiskUsage one;
            one.name = query.text(1);
            one.snapshots = query.size(2);
            result.vdisks.push_back(std::move(one));
        }
    }
    {
        auto query =
            TRY(db.query("SELECT count(*), coalesce(sum(stored_bytes), 0), coalesce(sum(plain_bytes), 0), "
                         "coalesce(sum(CASE WHEN trashed IS NULL THEN 0 ELSE stored_bytes END), 0) FROM chunk"));
        if (TRY(query.next())) {
            result.chunks = query.size(0);
            result.stored_bytes = query.size(1);
            result.plain_bytes = query.size(2);
            result.trash_bytes = query.size(3);
        }
    }
    result.pack_bytes = static_cast<std::uint64_t>(TRY(db.number("SELECT coalesce(sum(bytes), 0) FROM pack")));
    result.metadata_bytes =
        static_cast<std::uint64_t>(TRY(db.number("SELECT coalesce(sum(metadata_bytes + tbl_bytes), 0) FROM layer")));
    result.unused_bytes = result.stored_bytes;
    Sharing sharing{result.vdisks};
    auto query =
        TRY(db.query("SELECT c.id, c.stored_bytes, s.vdisk FROM chunk c JOIN layer_chunk lc ON lc.chunk = c.id "
                     "JOIN snapshot s ON s.layer = lc.layer ORDER BY c.id"));
    std::int64_t last = 0;
    while (TRY(query.next())) {
        sharing.add(query.integer(0), query.size(1), place.at(query.integer(2)));
        if (query.integer(0) != last) result.unused_bytes -= query.size(1);
        last = query.integer(0);
    }
    sharing.finish();
    result.shortcut_bytes = static_cast<std::uint64_t>(TRY(db.number(
        "SELECT coalesce(sum(stored_bytes), 0) FROM chunk WHERE id IN (SELECT lc.chunk FROM layer_chunk lc JOIN "
        "shortcut t ON t.layer = lc.layer) AND id NOT IN (SELECT lc.chunk FROM layer_chunk lc JOIN snapshot s ON "
        "s.layer = lc.layer)")));
    result.unused_bytes -= result.shortcut_bytes;
    return result;
}

Result<SnapshotUsage> snapshot_usage(const View& view, const SnapshotId& id)
{
    TRY(get_snapshot(view, id));
    auto query = TRY(view.db().query(
        "SELECT other, coalesce(sum(stored_bytes), 0) FROM (SELECT c.stored_bytes, "
        // A layer that several snapshots name comes free with none of them. What only shortcuts share with it goes with
        // it: they are its own, or those of snapshots below it, without which it is not removed.
        "(SELECT count(*) FROM snapshot t WHERE t.layer = s.layer) > 1 OR "
        "EXISTS(SELECT 1 FROM layer_chunk o WHERE o.chunk = c.id AND o.layer != s.layer AND "
        "EXISTS(SELECT 1 FROM snapshot t WHERE t.layer = o.layer)) AS other "
        "FROM snapshot s JOIN layer_chunk lc ON lc.layer = s.layer JOIN chunk c ON c.id = lc.chunk WHERE s.id = ?) "
        "GROUP BY other",
        id));
    SnapshotUsage result;
    while (TRY(query.next()))
        (query.integer(0) != 0 ? result.shared_bytes : result.own_bytes) = query.size(1);
    return result;
}

} // namespace coppice::store
