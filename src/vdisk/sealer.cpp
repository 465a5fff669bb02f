#include "coppice/vdisk/sealer.h"

#include "coppice/base/id.h"
#include "coppice/base/text.h"
#include "coppice/os/disk.h"
#include "coppice/os/file.h"
#include "coppice/store/ingest.h"
#include "coppice/store/seal.h"
#include "coppice/vdisk/ingest_sink.h"
#include "coppice/vdisk/read_tree.h"
#include "working_files.h"

#include <algorithm>
#include <cerrno>
#include <optional>
#include <set>
#include <unistd.h>

namespace coppice::vdisk {

namespace {

constexpr std::string_view kRemoving = ".removing-";   ///< a link: the snapshot of this id is being removed
constexpr std::string_view kDiscarded = ".discarded-"; ///< a directory that is being deleted

Error doubtful_error(const store::Snapshot& snapshot)
{
    return Error{ErrorKind::Corrupt, cat("snapshot ", snapshot.id.hex(),
                                         ": the machine went down before it was on the disk, it may have holes")}
        .hint(cat("look into it, then remove it, or take it as it is: coppice snapshot seal --accept ",
                  snapshot.id.hex()));
}

Error lost_error(const store::Snapshot& snapshot)
{
    return Error{ErrorKind::Corrupt, cat("snapshot ", snapshot.id.hex(),
                                         ": the machine went down before it was on the disk, nothing of it is left")}
        .hint("remove it");
}

} // namespace

Result<bool> Sealer::is_doubtful(const store::Snapshot& snapshot) const
{
    if (snapshot.state != store::SnapshotState::Frozen) return false;
    if (TRY(is_lost(*store_, snapshot))) return true;
    const auto directory =
        TRY_DOING(cat("snapshot ", snapshot.id.hex()),
                  os::open_at(store_->directory(), frozen_name(snapshot.id), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    return !TRY(is_of_this_boot(directory.get()));
}

Result<> Sealer::make_durable(const store::SnapshotId& id, Doubtful doubtful)
{
    auto line = TRY(store_->read([&](const store::View& view) { return store::unsealed_ancestors(view, id); }));
    std::erase_if(line, [](const store::Snapshot& one) { return one.state != store::SnapshotState::Frozen; });
    if (line.empty()) return {};
    for (const store::Snapshot& one : line) {
        if (TRY(is_lost(*store_, one))) return fail(lost_error(one));
        if (doubtful == Doubtful::Refuse && TRY(is_doubtful(one))) return fail(doubtful_error(one));
    }
    // One sync for all: they are on one file system, with the directories they were renamed between.
    TRY(os::sync_file_system(store_->directory(), "the store"));
    step("durable synced");
    return store_->write([&](store::Txn& txn) -> Result<> {
        for (const store::Snapshot& one : line)
            TRY(store::mark_durable(txn, one.id));
        return {};
    });
}

Result<> Sealer::seal_one(const store::Snapshot& snapshot, const GoOn& go_on)
{
    const auto directory =
        TRY(os::open_at(store_->directory(), frozen_name(snapshot.id), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    auto tree = TRY(read_tree(directory, {.form = ScanOptions::Form::OverlayUpper, .cross_mounts = false}));
    std::optional<store::StagedLayer> layer;
    LayerSize size;
    const bool empty = tree.entries(Tree::root()).empty() && snapshot.parent &&
                       TRY(look_of(tree)) == TRY(look_of_snapshot(*store_, *snapshot.parent));
    if (!empty) {
        const auto ingest = TRY(store::Ingest::begin(*store_, {.key = cat("seal ", snapshot.id.hex())}));
        IngestSink sink{*ingest, [&](std::uint64_t) -> Result<> {
                            if (go_on()) return {};
                            return fail(ErrorKind::Unavailable, "sealing was stopped; it goes on later");
                        }};
        size = TRY(write_layer(tree, sink, sink));
        step("seal written");
        layer.emplace(TRY(ingest->finish()));
    }
    step("seal staged");
    TRY(store_->write([&](store::Txn& txn) {
        return store::seal_snapshot(txn, snapshot.id, layer ? &*layer : nullptr, store_->node_key(), size.file_bytes);
    }));
    step("seal committed");
    return {};
}

Result<> Sealer::seal(const store::SnapshotId& id, const GoOn& go_on)
{
    const std::lock_guard lock{mutex_};
    auto line = TRY(store_->read([&](const store::View& view) { return store::unsealed_ancestors(view, id); }));
    std::reverse(line.begin(), line.end()); // a manifest names its parent's
    for (const store::Snapshot& one : line) {
        if (TRY(is_lost(*store_, one))) return fail(lost_error(one));
        if (TRY(is_doubtful(one))) return fail(doubtful_error(one));
        TRY_DOING(cat("seal snapshot ", one.id.hex()), seal_one(one, go_on));
    }
    return {};
}

Result<Sealer::Sealed> Sealer::seal_all(const GoOn& go_on)
{
    Sealed sealed;
    std::set<store::SnapshotId> left, failed;
    for (const store::Snapshot& one :
         TRY(store_->read([](const store::View& view) { return store::unsealed(view); }))) {
        if (!go_on()) break;
        if (one.parent && failed.contains(*one.parent)) {
            failed.insert(one.id);
            continue;
        }
        if ((one.parent && left.contains(*one.parent)) || TRY(is_doubtful(one))) {
            left.insert(one.id);
            sealed.doubtful.push_back(one.id);
            continue;
        }
        auto done = seal(one.id, go_on);
        if (done) {
            sealed.done.push_back(one.id);
        } else if (go_on()) {
            failed.insert(one.id);
            sealed.failed.emplace_back(one.id, std::move(done).error());
        }
    }
    return sealed;
}

Result<> Sealer::discard(const std::string& name)
{
    const auto all = TRY(os::open_at(store_->directory(), "frozen", O_RDONLY | O_DIRECTORY));
    const std::string doomed = cat(kDiscarded, name);
    TRY(os::rename_at(all.get(), name, all.get(), doomed, false));
    step("frozen renamed");
    return os::remove_tree(all.get(), doomed);
}

Result<std::size_t> Sealer::remove_sealed_directories()
{
    const std::lock_guard lock{mutex_};
    std::vector<std::string> names;
    for (std::string& name : TRY(os::list_subdirectories(store_->directory(), "frozen")))
        if (!name.starts_with('.')) names.push_back(std::move(name));
    // A use takes its lease before it looks at the states, so who saw the directory as needed is seen here.
    std::vector<std::string> unused;
    TRY(store_->read([&](const store::View& view) -> Result<> {
        std::set<store::SnapshotId> used;
        for (const store::Lease& lease : TRY(store::leases(view)))
            for (const store::Snapshot& one : TRY(store::ancestors(view, lease.snapshot)))
                used.insert(one.id);
        for (const std::string& name : names) {
            const auto id = store::SnapshotId::parse(name);
            if (!id || used.contains(*id)) continue;
            const auto row = TRY(store::find_snapshot(view, *id));
            if (row && row->state == store::SnapshotState::Sealed) unused.push_back(name);
        }
        return {};
    }));
    for (const std::string& name : unused)
        TRY(discard(name));
    return unused.size();
}

Result<> Sealer::remove(const store::SnapshotId& id)
{
    return remove({&id, 1}, [&](store::Txn& txn) { return store::remove_snapshot(txn, id); });
}

Result<> Sealer::remove(std::span<const store::SnapshotId> ids, const std::function<Result<>(store::Txn&)>& change)
{
    const std::lock_guard lock{mutex_};
    const auto all = TRY(os::open_at(store_->directory(), "frozen", O_RDONLY | O_DIRECTORY));
    std::vector<std::string> frozen;
    for (const store::SnapshotId& id : ids)
        if (os::exists(all.get(), id.hex())) frozen.push_back(id.hex());
    for (const std::string& name : frozen)
        if (::symlinkat(name.c_str(), all.get(), cat(kRemoving, name).c_str()) < 0 && errno != EEXIST)
            return fail_os(errno, cat("note the removal of snapshot ", name));
    // The notes before the rows, whatever happens then.
    if (!frozen.empty()) TRY(os::sync_directory(all.get(), "frozen/"));
    step("removal noted");
    auto removed = store_->write(change);
    step("removal committed");
    for (const std::string& name : frozen) {
        if (removed) TRY(discard(name));
        TRY(os::remove_file(all.get(), cat(kRemoving, name)));
    }
    return removed;
}

Result<std::vector<std::string>> Sealer::recover()
{
    const std::lock_guard lock{mutex_};
    const auto all = TRY(os::open_at(store_->directory(), "frozen", O_RDONLY | O_DIRECTORY));
    std::vector<std::string> unknown;
    for (const std::string& name : TRY(os::list_directory(all.get(), "."))) {
        if (name.starts_with(kDiscarded)) {
            TRY(os::remove_tree(all.get(), name));
            continue;
        }
        if (name.starts_with(kRemoving)) continue;
        const auto id = store::SnapshotId::parse(name);
        const bool known =
            id &&
            TRY(store_->read([&](const store::View& view) { return store::find_snapshot(view, *id); })).has_value();
        if (known) continue;
        // Without a note somebody may still want it: a database from a backup knows less than the disk holds.
        if (os::find_status(all.get(), cat(kRemoving, name), false).value_or(std::nullopt))
            TRY(discard(name));
        else
            unknown.push_back(cat("frozen/", name));
    }
    for (const std::string& name : TRY(os::list_directory(all.get(), ".")))
        if (name.starts_with(kRemoving)) TRY(os::remove_file(all.get(), name));
    return unknown;
}

} // namespace coppice::vdisk
