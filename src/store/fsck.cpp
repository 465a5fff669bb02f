#include "coppice/store/fsck.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/store/blob.h"
#include "coppice/store/seal.h"
#include "coppice/store/vdisk.h"
#include "fsck_parts.h"
#include "guards.h"
#include "schema.h"
#include "snapshot_rows.h"

#include <map>
#include <set>

namespace coppice::store {

namespace {

constexpr std::int64_t kProblemsShown = 20;

Result<> check_database(FsckRun& run)
{
    return run.store.read([&](const View& view) -> Result<> {
        Connection& db = view.db();
        {
            auto query = TRY(db.query(run.level == FsckLevel::Quick || run.level == FsckLevel::Crypto
                                          ? "PRAGMA quick_check(20)"
                                          : "PRAGMA integrity_check(20)"));
            while (TRY(query.next()))
                if (query.text(0) != "ok") run.find(cat("store.db: ", query.text(0)));
        }
        std::int64_t count = 0;
        auto query = TRY(db.query("PRAGMA foreign_key_check"));
        while (TRY(query.next()) && ++count <= kProblemsShown)
            run.find(cat("store.db: a row of ", query.text(0), " names a ", query.text(2), " that does not exist"));
        return {};
    });
}

/// References that repair can make again from the tables: those from layer_chunk.
Result<> repair_references(FsckRun& run)
{
    const auto removed = TRY(run.store.write([](Txn& txn) -> Result<std::int64_t> {
        const auto dangling = TRY(txn.db().execute("DELETE FROM layer_chunk WHERE chunk NOT IN (SELECT id FROM chunk) "
                                                   "OR layer NOT IN (SELECT id FROM layer)"));
        TRY(txn.db().execute("DELETE FROM pin WHERE chunk NOT IN (SELECT id FROM chunk)"));
        TRY(txn.db().execute("DELETE FROM hole WHERE pack NOT IN (SELECT id FROM pack)"));
        return dangling;
    }));
    if (removed > 0) run.find(cat(removed, " references of layers to chunks led nowhere"), {}, true);
    return {};
}

/// It follows from the parents.
Result<> repair_depths(FsckRun& run)
{
    const auto mended = TRY(run.store.write([](Txn& txn) {
        return txn.db().execute("UPDATE snapshot SET depth = d.depth FROM (" COPPICE_SNAPSHOT_DEPTHS
                                ") d WHERE d.id = snapshot.id AND d.depth != snapshot.depth");
    }));
    if (mended > 0) run.find(cat("the depth of ", mended, " snapshots was not one more than their parents'"), {}, true);
    return {};
}

struct Node {
    SnapshotId id;
    std::optional<SnapshotId> parent;
    std::int64_t vdisk, seq, state, depth;
};

Result<std::vector<Node>> read_nodes(const View& view)
{
    std::vector<Node> nodes;
    auto query = TRY(view.db().query("SELECT id, parent, vdisk, seq, state, depth FROM snapshot"));
    while (TRY(query.next())) {
        const auto id = TRY(query.name<SnapshotId>(0));
        const auto parent = TRY(query.optional_name<SnapshotId>(1));
        nodes.push_back({.id = id,
                         .parent = parent,
                         .vdisk = query.integer(2),
                         .seq = query.integer(3),
                         .state = query.integer(4),
                         .depth = query.integer(5)});
    }
    return nodes;
}

/// Every line of ancestors ends at a root; each node is walked once.
void check_circles(FsckRun& run, const std::map<SnapshotId, Node>& nodes)
{
    std::set<SnapshotId> good;
    for (const auto& [id, node] : nodes) {
        std::set<SnapshotId> path;
        std::optional<SnapshotId> at = id;
        while (at && !good.contains(*at) && path.insert(*at).second) {
            const auto found = nodes.find(*at);
            at = found == nodes.end() ? std::nullopt : found->second.parent;
        }
        if (at && !good.contains(*at)) run.find(cat("snapshot ", at->hex(), " is its own ancestor"), id.hex());
        good.insert(path.begin(), path.end());
    }
}

Result<> check_tree(FsckRun& run)
{
    return run.store.read([&](const View& view) -> Result<> {
        std::map<SnapshotId, Node> nodes;
        for (const Node& node : TRY(read_nodes(view)))
            nodes.emplace(node.id, node);
        check_circles(run, nodes);
        for (const auto& [id, node] : nodes) {
            ++run.report.snapshots;
            const auto parent = node.parent ? nodes.find(*node.parent) : nodes.end();
            if (node.depth != (parent == nodes.end() ? 1 : parent->second.depth + 1))
                run.find(cat("snapshot ", id.hex(), ": its depth is not one more than its parent's"));
            if (parent == nodes.end()) continue; // a root, or reported by foreign_key_check
            if (node.state == 3 && parent->second.state != 3)
                run.find(cat("snapshot ", id.hex(), " is sealed, its parent is not"));
            if (parent->second.vdisk == node.vdisk && parent->second.seq >= node.seq)
                run.find(cat("snapshot ", id.hex(), " does not come after its parent"));
        }
        return {};
    });
}

Result<> check_documents(FsckRun& run)
{
    return run.store.read([&](const View& view) -> Result<> {
        auto query = TRY(view.db().query("SELECT s.id FROM snapshot s LEFT JOIN document d ON d.snapshot = s.id WHERE "
                                         "d.snapshot IS NULL OR (s.state = 3) != (d.envelope IS NOT NULL)"));
        while (TRY(query.next())) {
            const auto id = TRY(query.name<SnapshotId>(0));
            run.find(
                cat("snapshot ", id.hex(), " is sealed without a signed manifest, or signed without being sealed"));
        }
        return {};
    });
}

Result<> check_sequences(FsckRun& run)
{
    const auto behind = TRY(run.store.read([](const View& view) -> Result<std::vector<std::string>> {
        std::vector<std::string> found;
        auto query = TRY(view.db().query(
            "SELECT name FROM vdisk v WHERE seq < (SELECT max(seq) FROM snapshot s WHERE s.vdisk = v.id)"));
        while (TRY(query.next()))
            found.emplace_back(query.text(0));
        return found;
    }));
    if (behind.empty()) return {};
    if (run.repairs())
        TRY(run.store.write([](Txn& txn) -> Result<> {
            TRY(txn.db().execute("UPDATE vdisk SET seq = max(seq, coalesce((SELECT max(seq) FROM snapshot s "
                                 "WHERE s.vdisk = vdisk.id), 0))"));
            return {};
        }));
    for (const std::string& name : behind)
        run.find(cat("vdisk ", name, ": its sequence number is behind its snapshots"), {}, run.repairs());
    return {};
}

Result<> check_manifests(FsckRun& run)
{
    const std::vector<security::PublicKey> trusted{run.store.node_key().public_key()};
    return run.store.read([&](const View& view) -> Result<> {
        for (const Snapshot& snapshot : TRY(select_snapshots(view.db(), "WHERE s.state = 3"))) {
            const auto verified = verify_snapshot(view, snapshot, trusted);
            if (!verified) run.find(verified.error().message(), snapshot.id.hex());
        }
        return {};
    });
}

} // namespace

int FsckReport::exit_status() const
{
    bool repaired = false, left = false;
    for (const Finding& finding : findings)
        (finding.repaired ? repaired : left) = true;
    return (repaired ? static_cast<int>(FsckExit::Repaired) : 0) | (left ? static_cast<int>(FsckExit::Uncorrected) : 0);
}

Result<FsckReport> fsck(Store& store, FsckLevel level, const Watch& watch)
{
    FsckRun run{.store = store, .level = level, .watch = watch, .report = {}};
    // What a collection takes away while it is looked at would be told as lost, and what it punches as damaged.
    Result<> wanted;
    if (!store.layer_guard().collecting.lock_while([&] {
            wanted = run.count(0);
            return wanted.has_value();
        }))
        return fail(std::move(wanted).error());
    const std::lock_guard lock{store.layer_guard().collecting, std::adopt_lock};
    const bool bytes = level == FsckLevel::Full || level == FsckLevel::Repair;
    if (run.repairs()) {
        // One that cannot be done is no reason to say nothing of all the rest.
        if (const auto done = repair_references(run); !done) run.find(cat("references: ", done.error().line()));
        if (const auto done = repair_depths(run); !done) run.find(cat("depths: ", done.error().line()));
        if (const auto done = index_from_packs(run); !done) run.find(cat("search in packs: ", done.error().line()));
    }
    TRY(check_database(run));
    TRY(check_packs(run));
    TRY(check_tree(run));
    TRY(check_documents(run));
    TRY(check_sequences(run));
    TRY(check_directories(run));
    TRY(check_layers(run));
    TRY(check_shortcuts(run));
    if (bytes) TRY(check_chunk_bytes(run));
    if (level == FsckLevel::Crypto || level == FsckLevel::Repair || level == FsckLevel::Full) TRY(check_manifests(run));
    return std::move(run.report);
}

} // namespace coppice::store
