#include "coppice/storage/storage.h"

#include "coppice/base/id.h"
#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/vdisk/write_tree.h"

#include <algorithm>

namespace coppice::storage {

namespace {

constexpr std::string_view kTaskPrefix = "task-"; ///< leases that end with what they are for, or with the process
constexpr store::Time kForever{INT64_MAX};

/// Of the lease of an instance's use.
constexpr std::string_view kUsePrefix = "instance-";
std::string holder_of(const std::string& working) { return cat(kUsePrefix, working); }

void report_unknown(const std::vector<std::string>& directories)
{
    for (const std::string& name : directories)
        log::warn("storage", "a directory that the database does not know is kept", {{"directory", name}});
}

} // namespace

Result<std::unique_ptr<Storage>> Storage::open(const std::string& root, Background::Options options)
{
    auto store = TRY(store::Store::open(root));
    auto mounts = TRY(vdisk::SnapshotMounts::make(*store));
    std::unique_ptr<Storage> storage{new Storage{std::move(store), std::move(mounts)}};
    TRY_DOING(cat("recover the store in ", root), storage->recover());
    storage->background_ = std::make_unique<Background>(Background::Parts{.store = *storage->store_,
                                                                          .sealer = storage->sealer_,
                                                                          .flattener = storage->flattener_,
                                                                          .layers = storage->layers_},
                                                        std::move(options));
    return storage;
}

Result<> Storage::recover()
{
    // What a killed process was at has ended with it.
    const auto leases = TRY(store_->read([](const store::View& view) { return store::leases(view); }));
    for (const store::Lease& lease : leases)
        if (lease.id.starts_with(kTaskPrefix)) TRY(mounts_->release(lease.id));
    TRY(mounts_->forget_dead());
    const auto recovered = TRY(layers_.recover());
    for (const auto& [name, error] : recovered.broken)
        log::error("storage", "a branch cannot be recovered and is refused until it can",
                   {{"branch", name}, {"error", error.line()}});
    for (const std::string& name : recovered.settled)
        log::info("storage", "what was begun with a branch is settled", {{"branch", name}});
    TRY(mounts_->recover([this](const std::string& working) { return layers_.check_usable(working); }));
    report_unknown(recovered.unknown);
    report_unknown(TRY(sealer_.recover()));
    return {};
}

Result<> Storage::while_unmounted(const std::string& working, const std::optional<store::SnapshotId>& next,
                                  const std::function<Result<>()>& body)
{
    const auto find_mount = [&]() -> Result<std::optional<vdisk::MountRecord>> {
        for (vdisk::MountRecord& record : TRY(mounts_->records()))
            if (record.working == working) return std::move(record);
        return std::optional<vdisk::MountRecord>{};
    };
    // What has to be made for the new mount is made while writers can go on. What is wrong is told below.
    Result<std::shared_ptr<void>> layers;
    if (const auto before = TRY(find_mount())) layers = mounts_->make_ready(next.value_or(before->snapshot));
    const std::lock_guard lock{working_};
    TRY(check_unused(working));
    const auto mounted = TRY(find_mount());
    return mounted ? mounts_->while_quiet(*mounted, body) : body();
}

Result<> Storage::check_unused(const std::string& working) const
{
    if (!in_use_.contains(working)) return {};
    return fail(Error{ErrorKind::Conflict, cat("branch ", working, " is in use: an instance runs on it")}.hint(
        cat("stop it first: coppice stop ", working)));
}

Result<os::Fd> Storage::use(const std::string& working, const vdisk::MountUse& use)
{
    const std::lock_guard lock{working_};
    TRY(check_unused(working));
    for (const vdisk::MountRecord& record : TRY(mounts_->records()))
        if (record.working == working)
            return fail(Error{ErrorKind::Conflict, cat("branch ", working, " is mounted at ", record.path)}.hint(
                "unmount it first"));
    TRY(layers_.check_usable(working));
    auto stacked = TRY(mounts_->open_working(working, holder_of(working), use));
    in_use_[working] = std::move(stacked.shared);
    return std::move(stacked.mount);
}

void Storage::resume_use(const std::string& working)
{
    const std::lock_guard lock{working_};
    in_use_.try_emplace(working);
}

bool Storage::is_in_use(const std::string& working) const
{
    const std::lock_guard lock{working_};
    return in_use_.contains(working);
}

Result<> Storage::make_for_use(std::span<const std::string> working, const store::SnapshotId& snapshot)
{
    auto made = layers_.create(working, snapshot, [&](store::Txn& txn) -> Result<> {
        for (const std::string& name : working)
            TRY(store::take_lease(txn, holder_of(name), snapshot, kForever));
        return {};
    });
    if (!made) TRY(release(working));
    return made;
}

Result<> Storage::release(std::span<const std::string> working)
{
    std::vector<std::string> holders;
    for (const std::string& name : working)
        holders.push_back(holder_of(name));
    return mounts_->release(holders);
}

Result<> Storage::remove_for_use(const std::string& working)
{
    const auto row = TRY(store_->read([&](const store::View& view) { return store::get_working(view, working); }));
    return remove({working}, {},
                  [&](store::Txn& txn) { return store::take_lease(txn, holder_of(working), row.snapshot, kForever); });
}

Result<std::vector<std::string>> Storage::uses() const
{
    std::vector<std::string> names;
    for (const store::Lease& lease : TRY(store_->read([](const store::View& view) { return store::leases(view); })))
        if (lease.id.starts_with(kUsePrefix)) names.push_back(lease.id.substr(kUsePrefix.size()));
    return names;
}

Result<> Storage::end_use(const std::string& working, const std::function<Result<>()>& settle)
{
    {
        std::unique_lock lock{working_};
        in_use_.erase(working);
        if (const auto capture = captures_.find(working); capture != captures_.end()) *capture->second = true;
        captured_.wait(lock, [&] { return !captures_.contains(working); });
    }
    TRY(settle());
    return mounts_->release(holder_of(working));
}

Result<> Storage::unmount(const std::string& path)
{
    const std::lock_guard lock{working_};
    return mounts_->detach(path);
}

Result<vdisk::MountRecord> Storage::mount(const std::string& working, const std::string& path,
                                          const vdisk::MountUse& use)
{
    const std::lock_guard lock{working_};
    TRY(check_unused(working));
    TRY(layers_.check_usable(working));
    return mounts_->attach_working(working, path, use);
}

Result<> Storage::remove(const std::vector<std::string>& working, std::span<const store::SnapshotId> ids,
                         const std::function<Result<>(store::Txn&)>& change)
{
    const std::lock_guard lock{working_};
    for (const std::string& name : working)
        TRY(check_unused(name));
    TRY(mounts_->forget_dead()); // somebody may have used umount(8)
    auto removed = layers_.remove(working, [&] {
        return sealer_.remove(ids, [&](store::Txn& txn) -> Result<> {
            for (const std::string& name : working)
                TRY(store::remove_working(txn, name));
            return change(txn);
        });
    });
    background_->wake(); // what was in them is still to be removed
    return removed;
}

Result<> Storage::rename(const std::string& working, const std::string& to)
{
    const std::lock_guard lock{working_};
    TRY(check_unused(working));
    TRY(mounts_->forget_dead()); // somebody may have used umount(8)
    return layers_.rename(working, to);
}

Result<store::Snapshot> Storage::snapshot(const std::string& working, const vdisk::FreezeNote& note)
{
    std::optional<store::Snapshot> made;
    TRY(while_unmounted(working, {}, [&]() -> Result<> {
        made = TRY(layers_.freeze(working, note));
        return {};
    }));
    background_->wake();
    return *made;
}

Result<store::Snapshot> Storage::bring(const store::SnapshotId& id, Reach reach, const vdisk::Sealer::GoOn& go_on)
{
    const auto so_far = [&](std::string_view state) {
        return cat("snapshot ", id.hex(), " is made, but only ", state);
    };
    if (reach != Reach::Frozen) TRY_DOING(so_far("frozen"), sealer_.make_durable(id));
    if (reach == Reach::Sealed) TRY_DOING(so_far("durable"), sealer_.seal(id, go_on));
    return store_->read([&](const store::View& view) { return store::get_snapshot(view, id); });
}

Result<> Storage::seal(const store::SnapshotId& id, vdisk::Sealer::Doubtful doubtful, const vdisk::Sealer::GoOn& go_on)
{
    TRY(sealer_.make_durable(id, doubtful));
    background_->wake(); // what was doubtful before is not any more, and `go_on` may say no
    return sealer_.seal(id, go_on);
}

Result<> Storage::rollback(const std::string& working, const store::SnapshotId& to,
                           const vdisk::WorkingLayers::Request& request)
{
    auto done = while_unmounted(working, to, [&] { return layers_.rollback(working, to, request); });
    background_->wake(); // what was in it is still to be removed
    return done;
}

Storage::Lease::~Lease()
{
    for (const std::string& id : ids_)
        if (const auto ended = mounts_->release(id); !ended) // the next start ends it
            log::warn("storage", "a lease could not be ended", {{"error", ended.error().line()}});
}

Result<Storage::Lease> Storage::lease(const std::vector<store::SnapshotId>& snapshots, Keep keep)
{
    Lease lease{*mounts_};
    for (const store::SnapshotId& snapshot : snapshots) {
        // Only frozen directories go away; a lease costs a write.
        const auto frozen =
            TRY(store_->read([&](const store::View& view) { return store::unsealed_ancestors(view, snapshot); }));
        if (frozen.empty() && keep == Keep::Directories) continue;
        const std::string id = cat(kTaskPrefix, random_hex(16));
        TRY(store_->write([&](store::Txn& txn) { return store::take_lease(txn, id, snapshot, kForever); }));
        lease.ids_.push_back(id);
    }
    return lease;
}

Result<> Storage::checkout(const std::string& working, const store::SnapshotId& from,
                           const std::vector<std::string>& paths, const store::Watch& watch)
{
    const auto snapshot = TRY(lease({from}));
    const auto tree = TRY(vdisk::merge_trees(TRY(trees_.stack_of(from))));
    for (const std::string& path : paths) // before anything is written
        if (!tree.find_path(path))
            return fail(ErrorKind::NotFound, cat(printable(path), " is not in snapshot ", from.hex()));
    const auto write = [&](const os::Fd& root) -> Result<> {
        for (const std::string& path : paths)
            TRY(vdisk::write_tree(tree, path, root.get(), watch));
        return {};
    };
    const std::lock_guard lock{working_};
    TRY(check_unused(working));
    for (const vdisk::MountRecord& record : TRY(mounts_->records()))
        if (record.working == working) return write(TRY(mounts_->open_place(record)));
    TRY(layers_.check_usable(working));
    Lease use{*mounts_};
    use.ids_.push_back(cat(kTaskPrefix, random_hex(16)));
    const auto stacked = TRY(mounts_->open_working(working, use.ids_.back())); // gone before its lease is
    return write(TRY(os::open_at(stacked.mount.get(), ".", O_RDONLY | O_DIRECTORY)));
}

} // namespace coppice::storage
