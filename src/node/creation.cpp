// New instances that have not run: as somebody describes them, or as branches of one that is there.

#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "parts.h"

namespace coppice::node {

using instance::InstanceConfig;

/// What new instances write into. @param snapshot as in their descriptions
Result<> Instances::make_branches(const std::string& snapshot, std::span<const std::string> names)
{
    if (snapshot.empty()) return {}; // on a path, each in its own directory
    return parts_->storage.make_for_use(names, TRY(store::SnapshotId::parse(snapshot)));
}

/// Nobody else does anything with the names meanwhile.
Result<> Instances::with_names(std::span<const std::string> names, const std::function<Result<>()>& body)
{
    const auto taken = std::make_shared<Running>();
    std::size_t claimed = 0;
    Result<> done;
    for (; claimed < names.size() && done; claimed += done ? 1U : 0U)
        done = claim(names[claimed], taken);
    if (done) done = body();
    for (const std::string& name : names.first(claimed))
        forget(name);
    return done;
}

Result<> Instances::create(InstanceConfig config)
{
    const std::string name = config.name;
    return create({&name, 1}, std::move(config));
}

/// All of them, or none; described alike.
Result<> Instances::create(std::span<const std::string> names, InstanceConfig config)
{
    TRY(with_names(names, [&]() -> Result<> {
        for (const std::string& name : names) {
            config.name = name;
            if (!TRY(prepare(config)))
                return fail(Error{ErrorKind::Conflict, cat("instance ", name, " exists already")}.hint(
                    cat("choose another name, or remove it: coppice rm ", name)));
        }
        TRY(make_branches(config.snapshot, names));
        auto made = make(names, config); // from here on there is something to be undone
        if (made) return made;
        for (const std::string& name : names)
            if (const auto undone = unmake(name); !undone)
                log::error("node", "a creation could not be undone",
                           {{"instance", name}, {"error", undone.error().line()}});
        return made;
    }));
    for (const std::string& name : names) {
        if (!config.snapshots.empty()) parts_->schedules->look_at(name);
        parts_->tell({.what = "created", .name = name});
    }
    return {};
}

/// With branches that are there.
Result<> Instances::make(std::span<const std::string> names, InstanceConfig config)
{
    config.awaits_start = true;
    config.created = to_rfc3339(now());
    for (const std::string& name : names) {
        config.name = name;
        TRY(parts_->store.make(config));
    }
    TRY(parts_->store.sync());
    return config.snapshot.empty() ? Result<>{} : parts_->storage.release(names);
}

/// Of one that has not run: nothing of it is left.
Result<> Instances::unmake(const std::string& name)
{
    if (const auto held = parts_->store.hold(name)) TRY(parts_->store.remove(*held, name));
    InstanceConfig gone;
    gone.name = name;
    return settle(gone);
}

Result<store::SnapshotId> Instances::branch(const std::string& name, const BranchWish& wish)
{
    const auto config = TRY(parts_->store.read_config(name));
    if (config.snapshot.empty())
        return fail(Error{ErrorKind::Invalid, cat("instance ", name, " is on no vdisk: it cannot be branched")}.hint(
            "make a vdisk of its root: coppice vdisk import"));
    for (const instance::Volume& volume : config.volumes)
        if (volume.source.starts_with(path_of(name) + '/')) // came with it when it was imported, and goes with it
            return fail(Error{ErrorKind::Conflict, cat("volume ", volume.destination, " of instance ", name,
                                                       " lies with it: branches would share it")}
                            .hint("coppice export --with-volumes, and import that under another name"));
    for (const std::string& wanted : wish.names) // before anything is made, or halted
        TRY(check_free(wanted));
    std::optional<store::SnapshotId> from = wish.from;
    if (!from) {
        vdisk::FreezeNote note;
        note.author = wish.author;
        note.message = cat("branched into ", wish.names.front(), wish.names.size() > 1 ? " and others" : "");
        from = TRY(snapshot(name, note, store::unwatched)).snapshot.id;
    }
    InstanceConfig described = config;
    described.snapshot = from->hex();
    described.hostname.clear();
    instance::forget_runs(described);
    TRY(create(wish.names, std::move(described)));
    return *from;
}

} // namespace coppice::node
