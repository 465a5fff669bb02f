#include "coppice/store/origin.h"

#include "database.h"

namespace coppice::store {

Result<> set_origin(Txn& txn, const SnapshotId& id, const Origin& origin)
{
    TRY(get_snapshot(txn, id));
    TRY(txn.db().execute("INSERT OR REPLACE INTO origin(snapshot, working, schedule) VALUES(?, ?, ?)", id,
                         std::string_view{origin.working}, std::string_view{origin.schedule}));
    return {};
}

Result<std::vector<Taken>> taken_of(const View& view, const std::string& working)
{
    std::vector<Taken> all;
    auto query = TRY(view.db().query("SELECT o.snapshot, o.schedule FROM origin o JOIN snapshot s ON s.id = o.snapshot "
                                     "WHERE o.working = ? ORDER BY s.created DESC, s.seq DESC",
                                     std::string_view{working}));
    while (TRY(query.next())) {
        const auto id = TRY(query.name<SnapshotId>(0));
        all.push_back({.snapshot = TRY(get_snapshot(view, id)), .schedule = std::string{query.text(1)}});
    }
    return all;
}

} // namespace coppice::store
