#include "coppice/vdisk/snapshot_mounts.h"

#include "coppice/base/id.h"
#include "coppice/base/json_text.h"
#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/os/file.h"
#include "coppice/os/mount.h"
#include "mount_records.h"
#include "overlay.h"
#include "working_files.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <set>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <utility>

namespace coppice::vdisk {

namespace {

constexpr const char* kEmpty = "empty"; ///< inside the space: the last layer below a single one
constexpr std::string_view kRecordPrefix = "mount-";
constexpr store::Time kForever{INT64_MAX};

std::uint64_t attributes_of(const MountUse& use, bool read_only)
{
    return (read_only ? os::mount_attr::kReadOnly : 0U) | (use.devices ? 0U : os::mount_attr::kNoDev) |
           (use.set_uid ? 0U : os::mount_attr::kNoSuid);
}

Result<std::string> resolve_directory(const std::string& path)
{
    const std::unique_ptr<char, void (*)(void*)> resolved{::realpath(path.c_str(), nullptr), &std::free};
    if (!resolved) return fail_os(errno, cat("mount point ", path));
    return std::string{resolved.get()};
}

} // namespace

Result<std::unique_ptr<SnapshotMounts>> SnapshotMounts::make(store::Store& store, LayerPath best)
{
    const auto space = std::make_shared<const os::MountSpace>(TRY(os::MountSpace::make(store.directory())));
    TRY(space->run([] { return os::make_directory(os::kCwd, kEmpty, 0755); }));
    return std::unique_ptr<SnapshotMounts>{new SnapshotMounts{store, space, best}};
}

Result<SnapshotMounts::Stack> SnapshotMounts::stack_by(const store::SnapshotId& snapshot,
                                                       const std::vector<store::StackPart>& parts)
{
    if (parts.size() > kMostLowers) // before hundreds of layers are mounted in vain
        return fail(Error{ErrorKind::Unavailable, cat("snapshot ", snapshot.hex(), " has ", parts.size(),
                                                      " layers, the kernel stacks ", kMostLowers)}
                        .hint("merge some of its ancestors"));
    Stack stack;
    for (const store::StackPart& part : parts) {
        if (!part.layer) {
            stack.lowers.push_back(cat("base/", frozen_name(part.snapshot)));
            continue;
        }
        stack.layers.push_back(TRY(layers_.get(*part.layer)));
        stack.lowers.push_back(stack.layers.back()->name());
    }
    return stack;
}

Result<SnapshotMounts::Stack> SnapshotMounts::stack_of(const store::SnapshotId& snapshot)
{
    const auto parts_by = [&](store::Shortcuts use) {
        return store_->read(
            [&](const store::View& view) { return store::stack_parts(view, store_->manifests(), snapshot, use); });
    };
    const auto parts = TRY(parts_by(store::Shortcuts::Use));
    auto stack = stack_by(snapshot, parts);
    const bool is_short =
        std::any_of(parts.begin(), parts.end(), [](const store::StackPart& part) { return part.base.has_value(); });
    if (stack || !is_short) return stack;
    // The layer of a shortcut may be damaged, or there is no room for its blob: those that it stands for do as well.
    log::warn("vdisk", "a snapshot is mounted without shortcuts",
              {{"snapshot", snapshot.hex()}, {"error", stack.error().line()}});
    auto all = stack_by(snapshot, TRY(parts_by(store::Shortcuts::Ignore)));
    return all ? std::move(all) : std::move(stack);
}

Result<StackedMount> SnapshotMounts::open_stack(const store::SnapshotId& snapshot, const std::string& working,
                                                const MountUse& use)
{
    auto stack = TRY(stack_of(snapshot));
    StackedMount stacked;
    stacked.layers = stack.lowers.size();
    if (!stack.layers.empty()) stacked.how = to_text(stack.layers.front()->path());
    const auto attributes = attributes_of(use, working.empty());
    if (working.empty() && !use.ids && stack.lowers.size() == 1 && stack.layers.size() == 1) {
        TRY(space_->run([&]() -> Result<> {
            stacked.mount = TRY(os::clone_mount(os::kCwd, stack.lowers.front(), false));
            // The shared mount has no device nodes for anybody: this one is a copy of its own.
            return os::set_mount_attributes(stacked.mount.get(), attributes, use.devices ? os::mount_attr::kNoDev : 0U,
                                            false);
        }));
    } else {
        OverlayPlan plan{.lowers = stack.lowers, .directory = {}, .source = source_of(snapshot)};
        plan.ids = use.ids;
        plan.throw_away = use.throw_away;
        if (!working.empty()) plan.directory = cat("base/", working_layer_name(working));
        if (working.empty() && plan.lowers.size() == 1) plan.lowers.emplace_back(kEmpty); // overlayfs wants two
        stacked.mount = TRY(make_overlay(*space_, plan, attributes));
        stacked.how += cat(stacked.how.empty() ? "" : ", ", "overlay of ", stacked.layers, " layers");
    }
    stacked.shared = std::move(stack.layers);
    return stacked;
}

Result<StackedMount> SnapshotMounts::open(const store::SnapshotId& snapshot, const std::string& holder,
                                          const MountUse& use)
{
    // First the lease, then the look at the line: what it sees cannot be taken away any more.
    TRY(store_->write([&](store::Txn& txn) { return store::take_lease(txn, holder, snapshot, kForever); }));
    auto stacked = open_stack(snapshot, "", use);
    if (stacked) return stacked;
    TRY(release(holder));
    return fail(std::move(stacked).error().with(cat("mount snapshot ", snapshot.hex())));
}

Result<StackedMount> SnapshotMounts::open_working(const std::string& name, const std::string& holder,
                                                  const MountUse& use)
{
    // A new one has its lease: then there is nothing to wait for.
    const auto known = TRY(store_->read([&](const store::View& view) -> Result<std::optional<store::SnapshotId>> {
        const auto working = TRY(store::get_working(view, name));
        const auto lease = TRY(store::find_lease(view, holder));
        if (!lease || lease->snapshot != working.snapshot || lease->expires != kForever) return std::nullopt;
        return std::optional{working.snapshot};
    }));
    const auto below = known ? *known : TRY(store_->write([&](store::Txn& txn) -> Result<store::SnapshotId> {
        const auto working = TRY(store::get_working(txn, name));
        TRY(store::take_lease(txn, holder, working.snapshot, kForever));
        return working.snapshot;
    }));
    auto stacked = open_stack(below, name, use);
    if (stacked) return stacked;
    TRY(release(holder));
    return fail(std::move(stacked).error().with(cat("mount branch ", name)));
}

Result<> SnapshotMounts::release(std::span<const std::string> holders)
{
    return store_->write([&](store::Txn& txn) -> Result<> {
        for (const std::string& holder : holders)
            TRY(store::end_lease(txn, holder));
        return {};
    });
}

Result<MountRecord> SnapshotMounts::attach_recorded(MountRecord record, const MountUse& use)
{
    if (record.id.empty()) record.id = cat(kRecordPrefix, random_hex(16));
    record.path = TRY(resolve_directory(record.path));
    if (!is_utf8(record.path)) // what is told of it could not name it
        return fail(Error{ErrorKind::Invalid, cat("the mount point ", printable(record.path), " is not UTF-8")}.hint(
            "mount at another path"));
    // A layer whose blob has to be made takes long: with it held here it is there when everybody waits. What is wrong
    // is told below.
    const auto held = stack_of(record.snapshot);
    const std::lock_guard lock{mutex_};
    TRY(forget_dead_locked()); // a new mount may get the device number of one that is gone
    for (const MountRecord& other : TRY(records())) {
        if (other.path == record.path)
            return fail(Error{ErrorKind::Conflict, cat(record.path, ": a vdisk is mounted there already")}.hint(
                "unmount it first"));
        if (!record.working.empty() && other.working == record.working)
            return fail(Error{ErrorKind::Conflict, cat("branch ", record.working, " is mounted at ", other.path)}.hint(
                "a branch has one writer: unmount it there, or make another branch"));
    }
    return attach_locked(std::move(record), use,
                         [](int mount, const std::string& path) { return os::attach_mount(mount, os::kCwd, path); });
}

Result<MountRecord> SnapshotMounts::attach_locked(MountRecord record, const MountUse& use,
                                                  const std::function<Result<>(int, const std::string&)>& put)
{
    auto stacked = TRY(record.working.empty() ? open(record.snapshot, record.id, use)
                                              : open_working(record.working, record.id, use));
    record.devices = use.devices;
    record.set_uid = use.set_uid;
    record.how = std::move(stacked.how);
    const auto attach = [&]() -> Result<> {
        struct stat status{};
        if (::fstat(stacked.mount.get(), &status) < 0) return fail_os(errno, "stat a mount");
        record.device = status.st_dev;
        TRY(write_mount_record(*store_, record));
        return put(stacked.mount.get(), record.path);
    };
    if (auto attached = attach(); !attached) {
        stacked.mount.reset();
        TRY(remove_mount_record(*store_, record.id));
        TRY(release(record.id));
        return fail(std::move(attached).error());
    }
    kept_[record.id] = std::move(stacked.shared);
    return record;
}

Result<MountRecord> SnapshotMounts::attach(const store::SnapshotId& snapshot, const std::string& path,
                                           const MountUse& use)
{
    return attach_recorded({.path = path, .snapshot = snapshot}, use);
}

Result<MountRecord> SnapshotMounts::attach_working(const std::string& name, const std::string& path,
                                                   const MountUse& use)
{
    const auto working = TRY(store_->read([&](const store::View& view) { return store::get_working(view, name); }));
    return attach_recorded({.path = path, .snapshot = working.snapshot, .working = name}, use);
}

/// Nobody can write through the mount, nor through those that propagation made of it. All or nothing; noted for
/// `recover` first.
Result<> SnapshotMounts::stop_writers(const MountRecord& record)
{
    static_cast<void>(TRY(open_place(record)));
    TRY(os::check_unused(record.path)); // who works in it would go on in what is a snapshot by then
    TRY(followers_of(record, Transient::Awaited));
    MountRecord noted = record;
    noted.replaces = record.device;
    TRY(write_mount_record(*store_, noted));
    std::vector<os::MountPlace> stopped;
    auto done = stop_noted(record, stopped);
    if (done) return done;
    const auto go_on = [&](Result<> back, const std::string& where) {
        if (!back && back.error().kind() != ErrorKind::NotFound)
            log::warn("vdisk", "a mount stays read-only", {{"where", where}, {"error", back.error().line()}});
    };
    for (const os::MountPlace& place : stopped)
        go_on(os::set_place_read_only(place, record.device, false), place.text());
    const auto root = open_place(record);
    go_on(root ? os::set_mount_attributes(root->get(), 0, os::mount_attr::kReadOnly, false)
               : Result<>{fail(root.error())},
          record.path);
    TRY(write_mount_record(*store_, record));
    return done;
}

/// First ours: what is copied from it from then on is read-only, too. Then what had been copied before.
/// @param stopped those of others that have become read-only, also after an error
Result<> SnapshotMounts::stop_noted(const MountRecord& record, std::vector<os::MountPlace>& stopped)
{
    TRY_DOING(record.path,
              os::set_mount_attributes(TRY(open_place(record)).get(), os::mount_attr::kReadOnly, 0, false));
    constexpr int kTries = 5;
    for (int left = kTries;; --left) {
        bool has_gone = false;
        for (os::MountPlace& place : TRY(followers_of(record, Transient::Refused))) {
            if (place.read_only) continue; // its owner's wish, or ours of the round before
            const auto done = os::set_place_read_only(place, record.device, true);
            if (done)
                stopped.push_back(std::move(place));
            else if (done.error().kind() == ErrorKind::NotFound && left > 0)
                has_gone = true; // its process; another one may have the same mount
            else
                return done;
        }
        if (!has_gone) return {};
    }
}

Result<> SnapshotMounts::while_quiet(const MountRecord& record, const std::function<Result<>()>& body)
{
    const std::lock_guard lock{mutex_};
    TRY_DOING(cat("branch ", record.working, " has to be unused for a moment"), stop_writers(record));
    // The record and the lease stay: each change of the lease is a commit, which waits for the disk.
    auto done = body();
    auto renewed = renew_locked(record);
    if (renewed) return done;
    log::error("vdisk", "a branch could not be mounted again",
               {{"branch", record.working}, {"path", record.path}, {"error", renewed.error().line()}});
    if (!done) return done;
    return fail(std::move(renewed).error().with(cat("done, but branch ", record.working, " is not mounted any more")));
}

/// Puts the layer over what is below it now in the place of what `record` says. Failing it leaves nothing there: what
/// nobody may write to, or what shows another state, would be taken for the branch.
Result<> SnapshotMounts::renew_locked(MountRecord record)
{
    os::Fd last;
    const auto replace = [](int mount, const std::string& path) -> Result<> {
        auto beneath = os::attach_mount_beneath(mount, path);
        if (!beneath && beneath.error().kind() != ErrorKind::Unsupported) return beneath;
        if (const auto off = os::unmount(path); !off) TRY(os::detach_mount_at(path)); // somebody has begun to read
        return beneath ? Result<>{} : os::attach_mount(mount, os::kCwd, path);
    };
    const auto renew = [&]() -> Result<> {
        last = TRY(os::clone_mount(os::kCwd, record.path, false)); // or unmounting would wait for the kernel's sync
        MountRecord now = record;
        now.snapshot = TRY(store_->read([&](const store::View& view) {
                           return store::get_working(view, record.working);
                       })).snapshot;
        now.replaces = record.device;
        now = TRY(
            attach_locked(std::move(now), {.devices = record.devices, .set_uid = record.set_uid, .ids = {}}, replace));
        now.replaces = 0;
        return write_mount_record(*store_, now);
    };
    auto renewed = renew();
    if (!renewed) {
        if (const auto off = os::detach_mount_at(record.path); !off)
            log::error("vdisk", "what is left of a mount cannot be taken off",
                       {{"path", record.path}, {"error", off.error().line()}});
        TRY(remove_mount_record(*store_, record.id));
        kept_.erase(record.id);
        TRY(release(record.id));
    }
    releaser_.release(std::move(last));
    return renewed;
}

Result<> SnapshotMounts::recover(const std::function<Result<>(const std::string& working)>& check_usable)
{
    const std::lock_guard lock{mutex_};
    for (MountRecord& record : TRY(records())) {
        if (record.replaces == 0) continue;
        const auto recover = [&]() -> Result<> {
            TRY(check_usable(record.working));
            return recover_one(record);
        };
        if (const auto done = recover(); !done)
            log::error("vdisk", "a branch that was mounted could not be mounted again, and may be read-only",
                       {{"branch", record.working},
                        {"path", record.path},
                        {"error", done.error().line()},
                        {"do", "unmount it, and mount it again"}});
    }
    return {};
}

Result<> SnapshotMounts::recover_one(MountRecord record)
{
    struct stat status{};
    if (::stat(record.path.c_str(), &status) < 0) return fail_os(errno, cat("stat ", record.path));
    const bool is_old = status.st_dev == record.replaces;
    if (!is_old && status.st_dev != record.device) // also before anything of somebody else's is taken off
        return fail(ErrorKind::Conflict, cat("something else is mounted over ", record.path));
    const auto places = TRY(os::find_mounts(record.device, source_of(record.snapshot)));
    const bool is_there = std::any_of(places.begin(), places.end(), [&](const os::MountPlace& place) {
        return place.process == 0 && place.point == record.path;
    });
    if (record.device == record.replaces || !is_there) { // the new one is not attached yet
        record.device = std::exchange(record.replaces, 0);
        struct statvfs state{};
        if (::statvfs(record.path.c_str(), &state) < 0) return fail_os(errno, cat("look at ", record.path));
        const auto working =
            TRY(store_->read([&](const store::View& view) { return store::get_working(view, record.working); }));
        // Killed before it was read-only: nothing has begun, and who works in it goes on.
        if ((state.f_flag & ST_RDONLY) == 0 && working.snapshot == record.snapshot)
            return write_mount_record(*store_, record);
        return renew_locked(std::move(record));
    }
    if (is_old) TRY(os::detach_mount_at(record.path)); // the new one is beneath
    record.replaces = 0;
    return write_mount_record(*store_, record);
}

Result<std::shared_ptr<void>> SnapshotMounts::make_ready(const store::SnapshotId& snapshot)
{
    return std::make_shared<Stack>(TRY(stack_of(snapshot)));
}

/// Where propagation has put the mount. Errors: Conflict (it is somewhere else)
Result<std::vector<os::MountPlace>> SnapshotMounts::followers_of(const MountRecord& record, Transient transient) const
{
    constexpr int kTries = 20;
    constexpr long kPauseMs = 10;
    for (int left = transient == Transient::Awaited ? kTries : 0;; --left) {
        auto places = TRY(os::find_mounts(record.device, source_of(record.snapshot)));
        std::erase_if(places,
                      [&](const os::MountPlace& place) { return place.process == 0 && place.point == record.path; });
        const auto other = std::find_if(places.begin(), places.end(), [](const auto& place) { return !place.follows; });
        if (other == places.end()) return places;
        if (left == 0 || other->process == 0)
            return fail(
                Error{ErrorKind::Conflict, cat("branch ", record.working, " is mounted at ", other->text(), ", too")}
                    .hint("unmount it there: what is written there would be lost"));
        sleep_ms(kPauseMs);
    }
}

Result<os::Fd> SnapshotMounts::open_place(const MountRecord& record) const
{
    auto root = TRY(os::open_at(os::kCwd, record.path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    struct stat status{};
    if (::fstat(root.get(), &status) < 0) return fail_os(errno, cat("stat ", record.path));
    if (status.st_dev == record.device) return root;
    return fail(
        Error{ErrorKind::Conflict, cat("something else is mounted over ", record.path)}.hint("unmount that first"));
}

Result<> SnapshotMounts::unmount_locked(const MountRecord& record)
{
    static_cast<void>(TRY(open_place(record)));
    os::Fd last;
    if (!record.working.empty()) last = TRY(os::clone_mount(os::kCwd, record.path, false));
    TRY(os::unmount(record.path));
    releaser_.release(std::move(last));
    return {};
}

Result<> SnapshotMounts::detach(const std::string& path)
{
    const auto resolved = TRY(resolve_directory(path));
    const std::lock_guard lock{mutex_};
    for (const MountRecord& record : TRY(records())) {
        if (record.path != resolved) continue;
        TRY(unmount_locked(record));
        TRY(remove_mount_record(*store_, record.id));
        kept_.erase(record.id);
        return release(record.id);
    }
    return fail(ErrorKind::NotFound, cat("no vdisk is mounted at ", resolved));
}

Result<std::vector<MountRecord>> SnapshotMounts::records() const
{
    std::vector<MountRecord> live;
    for (FoundRecord& found : TRY(read_mount_records(*store_)))
        if (found.mounted) live.push_back(std::move(found.record));
    return live;
}

Result<std::size_t> SnapshotMounts::forget_dead()
{
    const std::lock_guard lock{mutex_};
    return forget_dead_locked();
}

Result<std::size_t> SnapshotMounts::forget_dead_locked()
{
    std::size_t forgotten = 0;
    std::set<std::string> recorded;
    for (const FoundRecord& found : TRY(read_mount_records(*store_))) {
        recorded.insert(found.record.id);
        if (found.mounted) continue;
        TRY(release(found.record.id)); // the record goes last: it is what finds the lease
        TRY(remove_mount_record(*store_, found.record.id));
        ++forgotten;
    }
    // Whoever was killed between its lease and its record had mounted nothing yet.
    const auto leases = TRY(store_->read([](const store::View& view) { return store::leases(view); }));
    for (const store::Lease& lease : leases)
        if (lease.id.starts_with(kRecordPrefix) && !recorded.contains(lease.id)) TRY(release(lease.id));
    return forgotten;
}

} // namespace coppice::vdisk
