#include "coppice/vdisk/sealer.h"

#include "coppice/base/id.h"
#include "coppice/base/log.h"
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
    return Error{ErrorKind::Corrupt,
                 cat("snapshot ", snapshot.id.hex(),
                     ": the machine went down, or a sync failed, before it was on the disk: it may have holes")}
        .hint(cat("look into it, then remove it, or take it as it is: coppice snapshot seal --accept ",
                  snapshot.id.hex()));
}

Error lost_error(const store::Snapshot& snapshot)
{
    return Error{ErrorKind::Corrupt, cat("snapshot ", snapshot.id.hex(),
                                         ": the machine went down before it was on the disk, nothing of it is left")}
        .hint("remove it");
}

Error stopped() { return Error{ErrorKind::Unavailable, "sealing was stopped; it goes on later"}; }

/// Marks a directory that may be moved away, or be gone, at this moment.
Result<> mark_if_there(const store::Store& store, const std::string& path)
{
    const auto upper = os::open_at(store.directory(), path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (upper) return with_context(mark_doubtful(upper->get()), path);
    return upper.error().kind() == ErrorKind::NotFound ? Result<>{} : fail(upper.error());
}

Result<bool> is_gone(const store::Store& store, const store::SnapshotId& id)
{
    return !TRY(store.read([&](const store::View& view) { return store::find_snapshot(view, id); })).has_value();
}

/// Out of the way at once; `sweep` deletes it.
Result<> discard(int frozen, const std::string& name)
{
    auto renamed = os::rename_at(frozen, name, frozen, cat(kDiscarded, random_hex(8)), false);
    step("frozen renamed");
    return renamed;
}

} // namespace

/// While it lives nobody else reads, moves or removes the frozen directories of these snapshots.
class Sealer::Claim {
public:
    enum class For : unsigned char { Reading, Removal };

    Claim(Sealer& sealer, std::span<const store::SnapshotId> ids, For what)
        : sealer_{sealer}, ids_{ids.begin(), ids.end()}, what_{what}
    {
        std::unique_lock lock{sealer_.claims_};
        if (what_ == For::Removal) sealer_.unwanted_.insert(ids_.begin(), ids_.end());
        sealer_.released_.wait(lock, [&] {
            return std::none_of(ids_.begin(), ids_.end(), [&](const store::SnapshotId& id) {
                return sealer_.claimed_.contains(id) || (what_ == For::Reading && sealer_.unwanted_.contains(id));
            });
        });
        sealer_.claimed_.insert(ids_.begin(), ids_.end());
    }
    Claim(const Claim&) = delete;
    Claim& operator=(const Claim&) = delete;
    ~Claim()
    {
        {
            const std::lock_guard lock{sealer_.claims_};
            for (const store::SnapshotId& id : ids_) {
                sealer_.claimed_.erase(id);
                if (what_ == For::Removal) sealer_.unwanted_.erase(sealer_.unwanted_.find(id));
            }
        }
        sealer_.released_.notify_all();
    }
    /// Somebody waits to remove one of them.
    [[nodiscard]] bool is_unwanted() const
    {
        const std::lock_guard lock{sealer_.claims_};
        return std::any_of(ids_.begin(), ids_.end(),
                           [&](const store::SnapshotId& id) { return sealer_.unwanted_.contains(id); });
    }

private:
    Sealer& sealer_;
    std::set<store::SnapshotId> ids_;
    For what_;
};

/// What a failed sync leaves in doubt: everything that is not known to be on the disk. Branches first: what is frozen
/// meanwhile is found where it went.
Result<> Sealer::mark_all_doubtful()
{
    unmarked_ = true;
    for (const std::string& name : TRY(os::list_subdirectories(store_->directory(), "working"))) {
        TRY(mark_if_there(*store_, working_layer_name(name) + "/upper"));
        TRY(mark_if_there(*store_, capture_name(name)));
    }
    for (const std::string& name : TRY(os::list_subdirectories(store_->directory(), "frozen")))
        TRY(mark_if_there(*store_, cat("frozen/", name)));
    unmarked_ = false;
    return {};
}

/// One sync for all: they are on one file system, with the directories they were renamed between. An error of earlier
/// writes is reported once; whoever syncs after it is told that all is well.
Result<> Sealer::sync()
{
    auto synced = os::sync_file_system(store_->directory(), "the store");
    if (synced) return {};
    if (const auto marked = mark_all_doubtful(); !marked)
        return fail(
            std::move(synced).error().with(cat("what is in doubt could not be marked (", marked.error().line(), ")")));
    return fail(std::move(synced).error().hint("see what the kernel's log says of the disk"));
}

/// Frozen, and not known to be complete. The caller has `syncing_`.
Result<bool> Sealer::is_doubtful(const store::Snapshot& snapshot)
{
    if (snapshot.state != store::SnapshotState::Frozen) return false;
    if (unmarked_) TRY(mark_all_doubtful());
    auto directory = os::open_at(store_->directory(), frozen_name(snapshot.id), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!directory && directory.error().kind() == ErrorKind::NotFound) return is_lost(*store_, snapshot);
    const auto frozen = TRY_DOING(cat("snapshot ", snapshot.id.hex()), std::move(directory));
    return TRY(is_marked_doubtful(frozen.get())) || !TRY(is_of_this_boot(frozen.get()));
}

Result<> Sealer::make_durable(const store::SnapshotId& id, Doubtful doubtful)
{
    auto line = TRY(store_->read([&](const store::View& view) { return store::unsealed_ancestors(view, id); }));
    std::erase_if(line, [](const store::Snapshot& one) { return one.state != store::SnapshotState::Frozen; });
    if (line.empty()) return {};
    step("durable begun");
    {
        const std::lock_guard lock{syncing_};
        for (const store::Snapshot& one : line) {
            if (TRY(is_lost(*store_, one))) return fail(lost_error(one));
            if (doubtful == Doubtful::Refuse && TRY(is_doubtful(one))) return fail(doubtful_error(one));
        }
        TRY(sync());
    }
    step("durable synced");
    return store_->write([&](store::Txn& txn) -> Result<> {
        for (const store::Snapshot& one : line)
            TRY(store::mark_durable(txn, one.id));
        return {};
    });
}

Result<> Sealer::seal_one(const store::Snapshot& snapshot, const GoOn& go_on)
{
    if (!go_on()) return fail(stopped());
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
                            return fail(stopped());
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

/// Its parent is sealed. Somebody may want to remove it: then that comes first.
Result<> Sealer::seal_claimed(const store::SnapshotId& id, const GoOn& go_on)
{
    for (;;) {
        const Claim claim{*this, {&id, 1}, Claim::For::Reading};
        const auto one = TRY(store_->read([&](const store::View& view) { return store::get_snapshot(view, id); }));
        if (one.state == store::SnapshotState::Sealed) return {};
        {
            const std::lock_guard lock{syncing_};
            if (TRY(is_lost(*store_, one))) return fail(lost_error(one));
            if (TRY(is_doubtful(one))) return fail(doubtful_error(one));
        }
        auto done = seal_one(one, [&] { return go_on() && !claim.is_unwanted(); });
        if (done || !go_on() || !claim.is_unwanted())
            return with_context(std::move(done), cat("seal snapshot ", id.hex()));
    }
}

Result<> Sealer::seal(const store::SnapshotId& id, const GoOn& go_on)
{
    if (!sealing_.lock_while(go_on)) return fail(stopped());
    const std::lock_guard lock{sealing_, std::adopt_lock};
    auto line = TRY(store_->read([&](const store::View& view) { return store::unsealed_ancestors(view, id); }));
    std::reverse(line.begin(), line.end()); // a manifest names its parent's
    for (const store::Snapshot& one : line)
        TRY(seal_claimed(one.id, go_on));
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
        const auto is_left = [&]() -> Result<bool> {
            const std::lock_guard lock{syncing_};
            return (one.parent && left.contains(*one.parent)) || TRY(is_doubtful(one));
        };
        if (TRY(is_left())) {
            left.insert(one.id);
            sealed.doubtful.push_back(one.id);
            continue;
        }
        auto done = seal(one.id, go_on);
        if (done) {
            sealed.done.push_back(one.id);
        } else if (done.error().kind() == ErrorKind::NotFound && TRY(is_gone(*store_, one.id))) {
            continue; // removed meanwhile
        } else if (go_on()) {
            failed.insert(one.id);
            sealed.failed.emplace_back(one.id, std::move(done).error());
        }
    }
    return sealed;
}

Result<std::size_t> Sealer::remove_sealed_directories()
{
    const auto all = TRY(os::open_at(store_->directory(), "frozen", O_RDONLY | O_DIRECTORY));
    std::vector<store::SnapshotId> there;
    for (const std::string& name : TRY(os::list_subdirectories(all.get(), ".")))
        if (const auto id = store::SnapshotId::parse(name)) there.push_back(*id);
    // A use takes its lease before it looks at the states, so who saw the directory as needed is seen here.
    std::vector<store::SnapshotId> unused;
    TRY(store_->read([&](const store::View& view) -> Result<> {
        std::set<store::SnapshotId> used;
        for (const store::Lease& lease : TRY(store::leases(view)))
            for (const store::Snapshot& one : TRY(store::ancestors(view, lease.snapshot)))
                used.insert(one.id);
        for (const store::SnapshotId& id : there) {
            if (used.contains(id)) continue;
            const auto row = TRY(store::find_snapshot(view, id));
            if (row && row->state == store::SnapshotState::Sealed) unused.push_back(id);
        }
        return {};
    }));
    std::size_t removed = 0;
    for (const store::SnapshotId& id : unused) {
        const Claim claim{*this, {&id, 1}, Claim::For::Reading};
        if (!TRY(os::is_there(all.get(), id.hex()))) continue; // removed meanwhile
        TRY(discard(all.get(), id.hex()));
        ++removed;
    }
    return removed;
}

Result<> Sealer::sweep()
{
    const std::lock_guard lock{sweeping_}; // and nobody else waits: what is swept has a name that nobody looks for
    const auto all = TRY(os::open_at(store_->directory(), "frozen", O_RDONLY | O_DIRECTORY));
    for (const std::string& name : TRY(os::list_directory(all.get(), ".")))
        if (name.starts_with(kDiscarded)) TRY(os::remove_tree(all.get(), name));
    return {};
}

Result<> Sealer::remove(const store::SnapshotId& id)
{
    return remove({&id, 1}, [&](store::Txn& txn) { return store::remove_snapshot(txn, id); });
}

/// Of a removal that is noted: what the database says now decides, after a failure, too. Until it can be asked the note
/// stays, for the next start.
Result<> Sealer::finish_removal(int frozen, const store::SnapshotId& id)
{
    if (TRY(is_gone(*store_, id))) TRY(discard(frozen, id.hex()));
    return os::remove_file(frozen, cat(kRemoving, id.hex()));
}

Result<> Sealer::remove(std::span<const store::SnapshotId> ids, const std::function<Result<>(store::Txn&)>& change)
{
    const Claim claim{*this, ids, Claim::For::Removal};
    const auto all = TRY(os::open_at(store_->directory(), "frozen", O_RDONLY | O_DIRECTORY));
    std::vector<store::SnapshotId> frozen;
    for (const store::SnapshotId& id : ids)
        if (TRY(os::is_there(all.get(), id.hex()))) frozen.push_back(id);
    for (const store::SnapshotId& id : frozen)
        if (::symlinkat(id.hex().c_str(), all.get(), cat(kRemoving, id.hex()).c_str()) < 0 && errno != EEXIST)
            return fail_os(errno, cat("note the removal of snapshot ", id.hex()));
    // The notes before the rows, whatever happens then.
    if (!frozen.empty()) TRY(os::sync_directory(all.get(), "frozen/"));
    step("removal noted");
    auto removed = store_->write(change);
    step("removal committed");
    for (const store::SnapshotId& id : frozen) {
        auto finished = finish_removal(all.get(), id);
        if (removed && !finished) removed = std::move(finished); // the error that counts is the first
    }
    return removed;
}

Result<std::vector<std::string>> Sealer::recover()
{
    const auto all = TRY(os::open_at(store_->directory(), "frozen", O_RDONLY | O_DIRECTORY));
    const auto finish = [&](const std::string& name) -> Result<bool> {
        const auto id = store::SnapshotId::parse(name);
        if (id && !TRY(is_gone(*store_, *id))) return true;
        // Without a note somebody may still want it: a database from a backup knows less than the disk holds.
        if (!TRY(os::is_there(all.get(), cat(kRemoving, name)))) return false;
        TRY(discard(all.get(), name));
        return true;
    };
    std::vector<std::string> unknown;
    std::set<std::string> kept; // notes of what could not be finished
    for (const std::string& name : TRY(os::list_directory(all.get(), "."))) {
        if (name.starts_with(kDiscarded) || name.starts_with(kRemoving)) continue;
        const auto finished = finish(name);
        if (!finished) { // the next start tries again
            log::warn("vdisk", "the removal of a snapshot cannot be finished",
                      {{"directory", cat("frozen/", name)}, {"error", finished.error().line()}});
            kept.insert(cat(kRemoving, name));
        } else if (!*finished) {
            unknown.push_back(cat("frozen/", name));
        }
    }
    for (const std::string& name : TRY(os::list_directory(all.get(), ".")))
        if (name.starts_with(kRemoving) && !kept.contains(name)) TRY(os::remove_file(all.get(), name));
    return unknown;
}

} // namespace coppice::vdisk
