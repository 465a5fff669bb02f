#include "coppice/store/origin.h"

#include "database.h"

#include <algorithm>
#include <set>
#include <utility>

namespace coppice::store {

Result<> set_origin(Txn& txn, const SnapshotId& id, const Origin& origin)
{
    TRY(get_snapshot(txn, id));
    TRY(txn.db().execute("INSERT OR REPLACE INTO origin(snapshot, working, schedule) VALUES(?, ?, ?)", id,
                         std::string_view{origin.working}, std::string_view{origin.schedule}));
    return {};
}

Result<std::vector<Taken>> taken_of(const View& view, const std::string& working, std::size_t most)
{
    std::vector<Taken> all;
    auto query = TRY(view.db().query("SELECT o.snapshot, o.schedule FROM origin o JOIN snapshot s ON s.id = o.snapshot "
                                     "WHERE o.working = ? ORDER BY s.created DESC, s.seq DESC LIMIT ?",
                                     std::string_view{working}, most > 0 ? static_cast<std::int64_t>(most) : -1));
    while (TRY(query.next())) {
        const auto id = TRY(query.name<SnapshotId>(0));
        all.push_back({.snapshot = TRY(get_snapshot(view, id)), .schedule = std::string{query.text(1)}});
    }
    return all;
}

Result<std::vector<Snapshot>> history_of(const View& view, const std::string& working, std::size_t most)
{
    auto all = TRY(ancestors(view, TRY(get_working(view, working)).snapshot, most));
    const auto known_before = all.size();
    std::set<SnapshotId> known;
    for (const Snapshot& one : all)
        known.insert(one.id);
    for (Taken& taken : TRY(taken_of(view, working, most)))
        for (std::optional<Snapshot> one = std::move(taken.snapshot); one && known.insert(one->id).second;) {
            const auto parent = one->parent;
            all.push_back(*std::move(one));
            one = parent ? std::optional{TRY(get_snapshot(view, *parent))} : std::nullopt;
        }
    if (all.size() > known_before) // else they are in the order of the tree already, whatever the clock did
        std::sort(all.begin(), all.end(), [](const Snapshot& a, const Snapshot& b) {
            return std::pair{nanoseconds(a.created), a.depth} > std::pair{nanoseconds(b.created), b.depth};
        });
    if (most > 0 && all.size() > most) all.resize(most);
    return all;
}

} // namespace coppice::store
