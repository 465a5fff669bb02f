#include "coppice/store/snapshot.h"
#include "snapshot_rows.h"

#include <algorithm>
#include <map>

namespace coppice::store {

namespace {

constexpr std::size_t kPrefixLeast = 4;
constexpr std::size_t kShown = 5;

Error broken_line(const Snapshot& snapshot)
{
    return Error{ErrorKind::Corrupt,
                 cat("snapshot ", snapshot.id.hex(), " comes from one that is not there, or from itself")}
        .hint("run coppice system fsck");
}

/// Where a line ends.
enum class End : unsigned char {
    Root,
    Sealed, ///< at the nearest one that is sealed
    Content ///< at the nearest one that is not just the same as its parent
};

constexpr std::string_view goes_on(End end)
{
    switch (end) {
    case End::Root: return "1";
    case End::Sealed: return "below.state != 3";
    case End::Content: return "below.state = 3 AND below.layer IS NULL";
    }
    return "";
}

bool is_end(End end, const Snapshot& snapshot)
{
    const bool is_sealed = snapshot.state == SnapshotState::Sealed;
    return !snapshot.parent || (end == End::Sealed && is_sealed) ||
           (end == End::Content && !(is_sealed && !snapshot.layer));
}

/// The snapshot first, each followed by its parent. They come in this order, though nothing promises it; ordered by
/// SQLite they would take half as long again. Errors: Corrupt (they are no line)
Result<> put_in_order(const SnapshotId& id, std::vector<Snapshot>& line)
{
    const auto is_apart = [](const Snapshot& below, const Snapshot& above) { return below.parent != above.id; };
    if (line.front().id == id && std::adjacent_find(line.begin(), line.end(), is_apart) == line.end()) return {};
    std::map<SnapshotId, Snapshot> rest;
    for (Snapshot& one : line)
        rest.emplace(one.id, std::move(one));
    std::vector<Snapshot> ordered;
    for (auto found = rest.extract(id); !found.empty(); found = rest.extract(*ordered.back().parent)) {
        ordered.push_back(std::move(found.mapped()));
        if (!ordered.back().parent) break;
    }
    if (ordered.size() != line.size()) return fail(ordered.empty() ? no_such(id) : broken_line(ordered.back()));
    line = std::move(ordered);
    return {};
}

/// From a snapshot upwards in one statement: a line may be ten thousand long.
/// @param most 0: all
Result<std::vector<Snapshot>> climb(const View& view, const SnapshotId& id, End end, std::size_t most = 0)
{
    // A circle ends when there are more steps than snapshots.
    const std::int64_t limit =
        most == 0 ? INT64_MAX : static_cast<std::int64_t>(std::min<std::size_t>(most, INT64_MAX));
    auto line = TRY(select_snapshots(
        view.db(),
        cat("JOIN (WITH RECURSIVE line(id, parent, state, layer, step) AS (SELECT id, parent, state, layer, 1 FROM "
            "snapshot WHERE id = ?1 UNION ALL SELECT above.id, above.parent, above.state, above.layer, below.step + 1 "
            "FROM line below JOIN snapshot above ON above.id = below.parent WHERE below.step < min(?2, (SELECT "
            "count(*) + 1 FROM snapshot)) AND ",
            goes_on(end), ") SELECT id FROM line) u ON u.id = s.id"),
        id, limit));
    if (line.empty()) return fail(no_such(id));
    TRY(put_in_order(id, line));
    if (line.size() != most && !is_end(end, line.back())) return fail(broken_line(line.back()));
    return line;
}

} // namespace

Result<Snapshot> find_by_prefix(const View& view, std::string_view prefix)
{
    const bool hex = std::all_of(prefix.begin(), prefix.end(),
                                 [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
    if (!hex || prefix.size() < kPrefixLeast || prefix.size() > 2 * SnapshotId::kBytes)
        return fail(ErrorKind::Invalid, cat("'", prefix.substr(0, 40), "' is not 4 to 32 lower-case hex digits"));
    const std::string padding(2 * SnapshotId::kBytes - prefix.size(), '0');
    const auto least = TRY(SnapshotId::parse(cat(prefix, padding)));
    const auto most = TRY(SnapshotId::parse(cat(prefix, std::string(padding.size(), 'f'))));
    auto found = TRY(select_snapshots(view.db(), "WHERE s.id BETWEEN ? AND ? ORDER BY s.id", least, most));
    if (found.empty()) return fail(ErrorKind::NotFound, cat("there is no snapshot ", prefix));
    if (found.size() == 1) return std::move(found.front());
    std::string names;
    for (std::size_t i = 0; i < found.size() && i < kShown; ++i)
        names += cat(i == 0 ? "" : ", ", found[i].id.hex());
    return fail(Error{ErrorKind::Conflict, cat(found.size(), " snapshots begin with ", prefix, ": ", names)}.hint(
        "give more digits"));
}

Result<std::vector<Snapshot>> children(const View& view, const SnapshotId& id)
{
    return select_snapshots(view.db(), "WHERE s.parent = ? ORDER BY s.created, s.id", id);
}

Result<std::vector<Snapshot>> ancestors(const View& view, const SnapshotId& id, std::size_t most)
{
    return climb(view, id, End::Root, most);
}

Result<std::vector<Snapshot>> unsealed_ancestors(const View& view, const SnapshotId& id)
{
    auto line = TRY(climb(view, id, End::Sealed));
    if (line.back().state == SnapshotState::Sealed) line.pop_back();
    return line;
}

Result<Snapshot> nearest_content(const View& view, const SnapshotId& id)
{
    auto line = TRY(climb(view, id, End::Content));
    return std::move(line.back());
}

Result<bool> is_ancestor(const View& view, const SnapshotId& base, const SnapshotId& id)
{
    const auto line = TRY(ancestors(view, id));
    return std::any_of(line.begin(), line.end(), [&](const Snapshot& one) { return one.id == base; });
}

Result<std::vector<Snapshot>> descendants(const View& view, const SnapshotId& id)
{
    // Breadth first, so that parents come before children; UNION stops at a circle.
    return select_snapshots(
        view.db(),
        "JOIN (WITH RECURSIVE below(id, depth) AS (SELECT id, 1 FROM snapshot WHERE parent = ? UNION "
        "SELECT c.id, b.depth + 1 FROM snapshot c JOIN below b ON c.parent = b.id WHERE b.depth < 1000000) "
        "SELECT id, depth FROM below) b ON b.id = s.id ORDER BY b.depth, s.created, s.id",
        id);
}

Result<std::vector<Snapshot>> log(const View& view, const VdiskId& vdisk, std::size_t most)
{
    const std::int64_t limit = most == 0 ? -1 : static_cast<std::int64_t>(std::min<std::size_t>(most, INT64_MAX));
    return select_snapshots(view.db(), "WHERE v.uuid = ? ORDER BY s.seq DESC LIMIT ?", vdisk, limit);
}

Result<std::vector<Snapshot>> unsealed(const View& view)
{
    // A parent is entered before its children.
    return select_snapshots(view.db(), "WHERE s.state != 3 ORDER BY s.created, s.seq");
}

Result<std::vector<Snapshot>> lineage(const View& view, const SnapshotId& id)
{
    auto line = TRY(ancestors(view, id));
    std::erase_if(line, [](const Snapshot& one) { return one.state == SnapshotState::Sealed && !one.layer; });
    return line;
}

} // namespace coppice::store
