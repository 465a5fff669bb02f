#include "content.h"
#include "coppice/base/text.h"
#include "coppice/store/fsck.h"
#include "coppice/store/seal.h"
#include "node.h"

#include <filesystem>

namespace coppice::power {

namespace {

namespace fs = std::filesystem;
using store::Snapshot;
using store::SnapshotId;
using store::SnapshotState;

std::uint64_t bad_count = 0;

void bad(const std::string& what)
{
    ++bad_count;
    say("BAD " + what);
}

void recover(Node& node)
{
    need(node.mounts->forget_dead());
    const auto recovered = need(node.working.recover());
    for (const std::string& name : recovered.unknown)
        bad(name + " is known to nobody");
    for (const std::string& name : need(node.sealer.recover()))
        bad(name + " is known to nobody");
    say(cat("settled ", recovered.settled.size()));
}

std::vector<Snapshot> all_snapshots(const Node& node)
{
    return need(node.store->read([](const store::View& view) -> Result<std::vector<Snapshot>> {
        const auto vdisk = TRY(store::find_vdisk(view, kVdisk));
        if (!vdisk) return std::vector<Snapshot>{};
        return store::log(view, vdisk->id);
    }));
}

/// Of what reached the disk for certain, acknowledged or not, the content is what its seed says.
void check_content(Node& node, const Snapshot& snapshot)
{
    const std::string name = cat(to_text(snapshot.state), " snapshot ", snapshot.id.hex());
    const auto stack = node.trees.stack_of(snapshot.id);
    if (!stack) return bad(cat(name, ": ", stack.error().line()));
    const auto whole = vdisk::merge_trees(*stack);
    if (!whole) return bad(cat(name, ": ", whole.error().line()));
    const auto wrong = compare_files(*whole, std::stoull(snapshot.message));
    if (!wrong.empty()) bad(cat(name, ": ", wrong));
    if (snapshot.state != SnapshotState::Sealed) return;
    const std::vector<security::PublicKey> trusted{node.store->node_key().public_key()};
    const auto chain =
        node.store->read([&](const store::View& view) { return store::verify_chain(view, snapshot.id, trusted); });
    if (!chain) bad(cat(name, ": ", chain.error().line()));
}

void check_snapshots(Node& node, const Ledger& ledger)
{
    std::map<SnapshotId, Snapshot> there;
    for (Snapshot& one : all_snapshots(node))
        there.emplace(one.id, std::move(one));
    std::size_t acknowledged = 0;
    for (const auto& [id, entry] : ledger.snapshots) {
        const auto found = there.find(id);
        if (entry.removed && found != there.end()) bad(cat("snapshot ", id.hex(), " was removed and is there"));
        if (entry.removed) continue;
        if (found == there.end()) {
            if (!entry.removing) bad(cat(to_text(entry.state), " snapshot ", id.hex(), " is lost"));
            continue;
        }
        ++acknowledged;
        if (found->second.state < entry.state)
            bad(cat("snapshot ", id.hex(), " was ", to_text(entry.state), " and is ", to_text(found->second.state)));
        if (entry.seed != 0 && found->second.message != std::to_string(entry.seed))
            bad(cat("snapshot ", id.hex(), " has another message"));
    }
    std::size_t compared = 0;
    for (const auto& [id, snapshot] : there) {
        const auto entry = ledger.snapshots.find(id);
        if (snapshot.state == SnapshotState::Frozen) continue;
        if (entry != ledger.snapshots.end() && entry->second.accepted) continue;
        check_content(node, snapshot);
        ++compared;
    }
    say(cat("acknowledged ", acknowledged, " compared ", compared));
}

std::optional<SnapshotId> now_at(const Node& node, const std::string& name)
{
    return need(node.store->read([&](const store::View& view) -> Result<std::optional<SnapshotId>> {
        const auto vdisk = TRY(store::get_vdisk(view, kVdisk));
        if (name.starts_with("working ")) {
            const auto found = TRY(store::find_working(view, name.substr(8)));
            return found ? std::optional{found->snapshot} : std::nullopt;
        }
        if (name.starts_with("tag ")) {
            for (const store::Tag& tag : TRY(store::tags(view, vdisk.id)))
                if (tag.name == name.substr(4)) return std::optional{tag.snapshot};
            return std::optional<SnapshotId>{};
        }
        for (const store::Version& version : TRY(store::versions(view, vdisk.id)))
            if (std::to_string(version.number) == name.substr(8)) return std::optional{version.snapshot};
        return std::optional<SnapshotId>{};
    }));
}

bool was_durable(const Ledger& ledger, const SnapshotId& id)
{
    const auto found = ledger.snapshots.find(id);
    return found != ledger.snapshots.end() && found->second.state != SnapshotState::Frozen;
}

/// Rows are where they were. A working layer may be back above what it was over before a freeze that was not durable.
void check_names(const Node& node, const Ledger& ledger)
{
    for (const auto& [name, wanted] : ledger.names) {
        if (wanted.unsure) continue;
        const auto found = now_at(node, name);
        if (found == wanted.snapshot) continue;
        if (name.starts_with("working ") && found && wanted.snapshot && !was_durable(ledger, *wanted.snapshot))
            continue;
        bad(name + " is not where it was");
    }
}

void leave_working_layers(Node& node, const Snapshot& snapshot)
{
    for (const store::Working& working :
         need(node.store->read([](const store::View& view) { return store::all_working(view); }))) {
        if (working.snapshot != snapshot.id) continue;
        say("begin working " + working.name);
        need(node.working.rollback(working.name, *snapshot.parent));
        say(cat("working ", working.name, " ", snapshot.parent->hex()));
    }
}

void remove_tags(Node& node, const Snapshot& snapshot)
{
    for (const store::Tag& tag :
         need(node.store->read([&](const store::View& view) { return store::tags(view, snapshot.vdisk); }))) {
        if (tag.snapshot != snapshot.id) continue;
        say("begin tag " + tag.name);
        need(node.store->write([&](store::Txn& txn) { return store::remove_tag(txn, snapshot.vdisk, tag.name); }));
        say(cat("tag ", tag.name, " -"));
    }
}

/// Frozen and never acknowledged as durable: must be told as such. Half of them, and those with tags, are taken as they
/// are.
void settle_doubtful(Node& node)
{
    std::size_t accepted = 0, removed = 0, gone = 0;
    for (const Snapshot& listed : all_snapshots(node)) { // latest first
        const auto one =
            need(node.store->read([&](const store::View& view) { return store::get_snapshot(view, listed.id); }));
        if (one.state != SnapshotState::Frozen) continue; // or accepted with a descendant
        const auto refused = node.sealer.make_durable(one.id);
        if (refused || refused.error().kind() != ErrorKind::Corrupt)
            bad(cat("snapshot ", one.id.hex(), " was not durable when the power failed, and nobody says so"));
        if (const auto sealed = node.sealer.seal(one.id); sealed)
            bad(cat("snapshot ", one.id.hex(), " was doubtful and became sealed"));
        const bool lost = !fs::exists(cat(node.path, "/frozen/", one.id.hex()));
        const bool keep = !lost && one.id.bytes[0] % 2 == 0;
        if (!keep) leave_working_layers(node, one);
        if (lost) remove_tags(node, one);
        if (keep ||
            !need(node.store->read([&](const store::View& view) { return store::dependents(view, one.id); })).empty()) {
            for (const Snapshot& line :
                 need(node.store->read([&](const store::View& view) { return store::ancestors(view, one.id); })))
                if (line.state == SnapshotState::Frozen) say("begin accept " + line.id.hex());
            need(node.sealer.make_durable(one.id, vdisk::Sealer::Doubtful::Accept));
            say("durable " + one.id.hex());
            ++accepted;
            continue;
        }
        say("begin remove " + one.id.hex());
        need(node.sealer.remove(one.id));
        say("removed " + one.id.hex());
        ++removed;
        gone += lost ? 1 : 0;
    }
    say(cat("doubtful ", accepted + removed, " accepted ", accepted, " gone ", gone));
}

/// Before the doubtful ones are settled, those that are gone are told.
void check_store(Node& node, bool settled)
{
    const auto report = need(store::fsck(*node.store, store::FsckLevel::Full));
    for (const store::Finding& finding : report.findings)
        if (settled || finding.what.find("was not durable") == std::string::npos) bad("fsck: " + finding.what);
    say(cat("fsck ", report.chunks, " chunks ", report.layers, " layers ", report.snapshots, " snapshots"));
}

} // namespace

void check(Node& node, const Ledger& ledger)
{
    if (all_snapshots(node).empty() && ledger.snapshots.empty()) return; // the first life
    recover(node);
    check_store(node, false);
    check_snapshots(node, ledger);
    check_names(node, ledger);
    if (bad_count > 0) throw std::runtime_error{"something is lost"};
    settle_doubtful(node);
    check_store(node, true);
    if (bad_count > 0) throw std::runtime_error{"something is lost"};
}

} // namespace coppice::power
