#include "coppice/vdisk/working_layers.h"

#include "coppice/base/id.h"
#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/os/disk.h"
#include "coppice/os/file.h"
#include "coppice/vdisk/working_layer.h"
#include "working_files.h"
#include "working_steps.h"

#include <algorithm>
#include <cerrno>
#include <optional>
#include <sys/statvfs.h>
#include <unistd.h>

namespace coppice::vdisk {

namespace {

constexpr const char* kNext = "layer/next";    ///< becomes the upper directory
constexpr const char* kOld = "layer/old";      ///< was it, until a rollback
constexpr const char* kAside = "layer/aside-"; ///< was it, for another snapshot than the row's; see catch_up
constexpr const char* kWork = "layer/work";

/// Takes the new upper directory away again. Nobody can have written into it; if somebody did, it stays.
Result<> remove_empty(int directory, const char* path)
{
    if (::unlinkat(directory, path, AT_REMOVEDIR) == 0 || errno == ENOENT) return {};
    return fail_os(errno, cat("take away the new ", path, " of a working layer"));
}

Result<bool> was_done(const store::Store& store, const WorkingLayers::Request& request)
{
    if (!request) return false;
    const auto outcome = TRY(store.read([&](const store::View& view) { return store::find_outcome(view, *request); }));
    return outcome.has_value();
}

Result<> keep_done(store::Txn& txn, const WorkingLayers::Request& request)
{
    return request ? store::keep_outcome(txn, *request, "done") : Result<>{};
}

} // namespace

Result<> WorkingLayers::check_unmounted(const std::string& name, ReadOnly read_only) const
{
    if (captured_.contains(name))
        return fail(Error{ErrorKind::Conflict, cat("a snapshot of branch ", name, " is being made")}.hint(
            "wait until it is done"));
    for (const MountRecord& record : TRY(mounts_->records())) {
        if (record.working != name) continue;
        struct statvfs status{};
        if (::statvfs(record.path.c_str(), &status) < 0) return fail_os(errno, cat("look at ", record.path));
        if (read_only == ReadOnly::Allowed && (status.f_flag & ST_RDONLY) != 0) continue;
        return fail(
            Error{ErrorKind::Conflict, cat("branch ", name, " is mounted at ", record.path)}.hint("unmount it first"));
    }
    return {};
}

Result<> WorkingLayers::create(const std::string& name, const store::SnapshotId& snapshot, const Request& request)
{
    const std::lock_guard lock{mutex_};
    if (TRY(was_done(*store_, request))) return {};
    return make({&name, 1}, snapshot, [&](store::Txn& txn) { return keep_done(txn, request); });
}

Result<> WorkingLayers::create(std::span<const std::string> names, const store::SnapshotId& snapshot,
                               const std::function<Result<>(store::Txn&)>& along)
{
    const std::lock_guard lock{mutex_};
    return make(names, snapshot, along);
}

/// That the name may become a layer's, so far as the files tell.
Result<> WorkingLayers::check_free(const std::string& name)
{
    TRY(check_name(name));
    // Before the row: what a directory without one holds may be all that is left of something.
    const bool known =
        TRY(store_->read([&](const store::View& view) { return store::find_working(view, name); })).has_value();
    if (known || TRY(finish_removal(name))) return {};
    return fail(
        Error{ErrorKind::Conflict, cat(working_name(name), " is there, but the database does not know it")}.hint(
            "look what it holds, and remove it"));
}

Result<> WorkingLayers::make(std::span<const std::string> names, const store::SnapshotId& snapshot,
                             const std::function<Result<>(store::Txn&)>& along)
{
    for (const std::string& name : names)
        TRY(check_free(name));
    TRY(look_of_snapshot(*store_, snapshot)); // or there is nothing to begin on
    TRY(store_->write([&](store::Txn& txn) -> Result<> {
        for (const std::string& name : names)
            TRY(store::add_working(txn, name, snapshot));
        return along(txn);
    }));
    step("create committed");
    const auto settle_all = [&]() -> Result<> {
        for (const std::string& name : names)
            TRY_DOING(cat("make branch ", name), settle(name));
        return {};
    };
    auto made = settle_all();
    if (made) return {};
    const auto take_back = take_away(names, [&] { // or the rows would be in the way of the next try
        return store_->write([&](store::Txn& txn) -> Result<> {
            for (const std::string& name : names)
                TRY(store::remove_working(txn, name));
            return {};
        });
    });
    if (!take_back)
        log::warn("vdisk", "a branch that could not be made is settled at the next start", {{"branch", names.front()}});
    return made;
}

Result<> WorkingLayers::check_usable(const std::string& name)
{
    const std::lock_guard lock{mutex_};
    return mend(name);
}

/// One that could not be recovered is refused, with the reason, until it can be.
Result<> WorkingLayers::mend(const std::string& name)
{
    if (!broken_.contains(name)) return {};
    if (auto settled = settle(name); !settled)
        return fail(std::move(settled).error().with(cat("branch ", name, " could not be recovered")));
    broken_.erase(name);
    return {};
}

/// Of a layer in which an earlier try may have failed at its last steps, so that something of it is still noted.
Result<os::Fd> WorkingLayers::open_settled(const std::string& name)
{
    TRY(mend(name));
    auto directory = TRY(open_layer(*store_, name));
    if (TRY(find_step(directory.get())) || !TRY(os::is_there(directory.get(), kUpper))) TRY(settle(name));
    return directory;
}

Result<> WorkingLayers::remove(const std::string& name)
{
    return remove({&name, 1},
                  [&] { return store_->write([&](store::Txn& txn) { return store::remove_working(txn, name); }); });
}

Result<> WorkingLayers::remove(std::span<const std::string> names, const std::function<Result<>()>& commit)
{
    const std::lock_guard lock{mutex_};
    for (const std::string& name : names) {
        TRY(store_->read([&](const store::View& view) { return store::get_working(view, name); }));
        TRY(check_unmounted(name, ReadOnly::Refused));
    }
    return take_away(names, commit);
}

/// Of a layer without a row. False: there is a directory, and nobody said that it was being removed.
Result<bool> WorkingLayers::finish_removal(const std::string& name)
{
    if (!TRY(os::is_there(store_->directory(), working_name(name)))) return true;
    const auto begun = TRY(find_step(TRY(open_layer(*store_, name)).get()));
    if (!begun || begun->kind != Step::Kind::Remove) return false;
    const auto all = TRY(os::open_at(store_->directory(), "working", O_RDONLY | O_DIRECTORY));
    TRY(discard_directory(all.get(), name));
    TRY(os::sync_directory(all.get(), "working/")); // so that it does not come back under a new layer of this name
    return true;
}

Result<> WorkingLayers::take_away(std::span<const std::string> names, const std::function<Result<>()>& commit)
{
    const auto note = [&](const std::string& name) -> Result<> {
        if (!TRY(os::is_there(store_->directory(), working_name(name)))) return {};
        // One that cannot be mended can be removed: what was begun with it is of no interest then.
        if (!mend(name)) TRY(forget_step(TRY(open_layer(*store_, name)).get()));
        const auto directory = TRY(broken_.contains(name) ? open_layer(*store_, name) : open_settled(name));
        TRY(note_step(directory.get(), {.kind = Step::Kind::Remove, .snapshot = {}}));
        // The row must not go before the note is on the disk: a power cut would leave a directory that nobody knows.
        return os::sync_directory(directory.get(), working_name(name));
    };
    Result<> done;
    for (const std::string& name : names)
        if (done) done = note(name);
    step("remove noted");
    if (done) done = commit();
    step("remove committed");
    for (const std::string& name : names) {
        // What the database says now decides, after a failure, too.
        const auto row = TRY(store_->read([&](const store::View& view) { return store::find_working(view, name); }));
        if (row)
            TRY(settle(name));
        else if (TRY(finish_removal(name)))
            broken_.erase(name);
    }
    return done;
}

Result<store::Snapshot> WorkingLayers::freeze(const std::string& name, const FreezeNote& note)
{
    const std::lock_guard lock{mutex_};
    if (const auto before = TRY(find_made(*store_, note))) return *before;
    const auto working = TRY(store_->read([&](const store::View& view) { return store::get_working(view, name); }));
    TRY(check_unmounted(name, ReadOnly::Allowed));
    const auto directory = TRY(open_settled(name));
    const auto id = security::make_random<store::SnapshotId>();
    {
        const auto upper = TRY(os::open_at(directory.get(), kUpper, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
        TRY(note_boot(upper.get()));
        TRY(remove_empty(directory.get(), kNext)); // of a try that failed
        TRY(make_upper(directory.get(), kNext, TRY(look_of_directory(upper.get())), id));
    }
    TRY(note_step(directory.get(), {.kind = Step::Kind::Freeze, .snapshot = id}));
    step("freeze noted");
    const auto move = [&]() -> Result<store::Snapshot> {
        TRY(os::rename_at(directory.get(), kUpper, store_->directory(), frozen_name(id), false));
        step("freeze moved");
        TRY(os::rename_at(directory.get(), kNext, directory.get(), kUpper, false));
        step("freeze renewed");
        return store_->write([&](store::Txn& txn) -> Result<store::Snapshot> {
            auto made = TRY(add_frozen(txn, id, working, note));
            TRY(store::move_working(txn, name, id));
            return made;
        });
    };
    auto frozen = move();
    step("freeze committed");
    // After a failure, too: what the database says now decides whether the move is kept or undone.
    TRY(settle(name));
    return with_context(std::move(frozen), cat("freeze branch ", name));
}

Result<> WorkingLayers::rollback(const std::string& name, const store::SnapshotId& snapshot, const Request& request)
{
    const std::lock_guard lock{mutex_};
    if (TRY(was_done(*store_, request))) return {};
    TRY(store_->read([&](const store::View& view) { return store::get_working(view, name); }));
    TRY(check_unmounted(name, ReadOnly::Allowed));
    const auto directory = TRY(open_settled(name));
    TRY(remove_empty(directory.get(), kNext)); // of a try that failed
    TRY(make_upper(directory.get(), kNext, TRY(look_of_snapshot(*store_, snapshot)), snapshot));
    TRY(note_step(directory.get(), {.kind = Step::Kind::Rollback, .snapshot = snapshot}));
    step("rollback noted");
    const auto move = [&]() -> Result<> {
        TRY(os::rename_at(directory.get(), kUpper, directory.get(), kOld, false));
        step("rollback moved");
        TRY(os::rename_at(directory.get(), kNext, directory.get(), kUpper, false));
        step("rollback renewed");
        return store_->write([&](store::Txn& txn) -> Result<> {
            TRY(store::move_working(txn, name, snapshot));
            return keep_done(txn, request);
        });
    };
    auto moved = move();
    step("rollback committed");
    TRY(settle(name));
    return with_context(std::move(moved), cat("roll branch ", name, " back"));
}

/// A power cut takes back moves of directories that the database knows of: the file system writes them when it likes,
/// the database before it says so. What the upper directory says it is for tells it.
Result<> WorkingLayers::catch_up(int directory, store::Working& row)
{
    const auto below = TRY(os::is_there(directory, kUpper)) ? TRY(find_below(directory, kUpper)) : std::nullopt;
    if (below == row.snapshot) return {};
    const auto line = TRY(store_->read([&](const store::View& view) { return store::ancestors(view, row.snapshot); }));
    // Not removed: with a database from a backup it could be what somebody wants.
    const auto set_aside = [&]() -> Result<> {
        if (!below) return {};
        return os::rename_at(directory, kUpper, directory, cat(kAside, random_hex(8)), false);
    };
    // It was rolled back, or what is in it became a layer: here it is a directory from before.
    if (!TRY(is_lost(*store_, line.front()))) return set_aside();
    // A freeze was taken back: the layer is over what it was over, with what was in it.
    if (below &&
        TRY(store_->read([&](const store::View& view) { return store::find_snapshot(view, *below); })).has_value()) {
        row.snapshot = *below;
    } else {
        TRY(set_aside());
        for (auto one = line.rbegin(); one != line.rend(); ++one)
            if (!TRY(is_lost(*store_, *one))) row.snapshot = one->id; // the nearest comes last
    }
    return store_->write([&](store::Txn& txn) { return store::move_working(txn, row.name, row.snapshot); });
}

/// Brings a layer's directories into agreement with its row. True if there was something to do.
Result<bool> WorkingLayers::settle(const std::string& name)
{
    auto row = TRY(store_->read([&](const store::View& view) { return store::get_working(view, name); }));
    if (!TRY(os::is_there(store_->directory(), working_name(name))))
        TRY(os::make_directory(store_->directory(), working_name(name), 0700));
    const auto opened = TRY(open_layer(*store_, name));
    const int directory = opened.get();
    const auto begun = TRY(find_step(directory));
    if (begun && begun->kind == Step::Kind::Freeze &&
        TRY(os::is_there(store_->directory(), frozen_name(begun->snapshot)))) {
        const auto made =
            TRY(store_->read([&](const store::View& view) { return store::find_snapshot(view, begun->snapshot); }));
        if (!made) { // never committed: the layer gets back what it had
            TRY(remove_empty(directory, kUpper));
            TRY(os::rename_at(store_->directory(), frozen_name(begun->snapshot), directory, kUpper, false));
        }
    }
    if (begun && begun->kind == Step::Kind::Rollback && TRY(os::is_there(directory, kOld))) {
        if (row.snapshot == begun->snapshot) {
            if (!TRY(os::is_there(directory, kUpper))) TRY(os::rename_at(directory, kNext, directory, kUpper, false));
            TRY(discard_directory(directory, kOld));
            // Overlayfs left a mark in it if the layer was one to be thrown away, and would not take it again.
            if (TRY(os::is_there(directory, kWork))) TRY(discard_directory(directory, kWork));
        } else {
            TRY(remove_empty(directory, kUpper));
            TRY(os::rename_at(directory, kOld, directory, kUpper, false));
        }
    }
    TRY(settle_capture(directory, begun));
    TRY(remove_empty(directory, kNext));
    TRY(catch_up(directory, row));
    const bool fresh = !TRY(os::is_there(directory, kUpper));
    if (fresh) {
        if (!TRY(os::is_there(directory, "layer"))) TRY(os::make_directory(directory, "layer", 0700));
        TRY(make_upper(directory, kNext, TRY(look_of_snapshot(*store_, row.snapshot)), row.snapshot));
        TRY(os::rename_at(directory, kNext, directory, kUpper, false));
    }
    TRY(WorkingLayer::open(directory)); // the rest of what a layer has
    if (begun) TRY(forget_step(directory));
    return begun.has_value() || fresh;
}

Result<bool> WorkingLayers::is_empty(const std::string& name) const
{
    const auto directory = TRY(open_layer(*store_, name));
    return TRY(os::list_directory(directory.get(), kUpper)).empty();
}

Result<WorkingLayers::Recovered> WorkingLayers::recover()
{
    const std::lock_guard lock{mutex_};
    TRY(finish_renames()); // first: a row without its directory would get an empty one
    Recovered recovered;
    const auto rows = TRY(store_->read([](const store::View& view) { return store::all_working(view); }));
    // One that is broken is no reason to keep everybody from the others, or from fsck.
    for (const store::Working& row : rows) {
        auto settled = settle(row.name);
        if (!settled) {
            broken_.insert(row.name);
            recovered.broken.emplace_back(row.name, std::move(settled).error());
        } else if (*settled) {
            recovered.settled.push_back(row.name);
        }
    }
    const auto all = TRY(os::open_at(store_->directory(), "working", O_RDONLY | O_DIRECTORY));
    for (const std::string& name : TRY(os::list_subdirectories(all.get(), "."))) {
        if (name.starts_with(WorkingLayer::kDiscarded)) continue;
        if (std::any_of(rows.begin(), rows.end(), [&](const store::Working& row) { return row.name == name; }))
            continue;
        auto finished = finish_removal(name);
        if (!finished)
            recovered.broken.emplace_back(name, std::move(finished).error());
        else if (*finished)
            recovered.settled.push_back(name);
        else
            recovered.unknown.push_back(working_name(name));
    }
    return recovered;
}

Result<> WorkingLayers::sweep()
{
    const std::lock_guard lock{sweeping_}; // and nobody else waits: what is swept has a name that nobody looks for
    const auto all = TRY(os::open_at(store_->directory(), "working", O_RDONLY | O_DIRECTORY));
    TRY(WorkingLayer::sweep(all.get()));
    for (const std::string& name : TRY(os::list_subdirectories(all.get(), "."))) {
        const auto directory = os::open_at(all.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
        if (directory)
            TRY(WorkingLayer::sweep(directory->get()));
        else if (directory.error().kind() != ErrorKind::NotFound) // removed meanwhile
            return fail(directory.error());
    }
    return {};
}

} // namespace coppice::vdisk
