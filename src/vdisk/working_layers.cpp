#include "coppice/vdisk/working_layers.h"

#include "coppice/base/id.h"
#include "coppice/base/text.h"
#include "coppice/os/disk.h"
#include "coppice/os/file.h"
#include "coppice/vdisk/working_layer.h"
#include "working_files.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <optional>
#include <unistd.h>

namespace coppice::vdisk {

namespace {

constexpr const char* kUpper = "layer/upper";
constexpr const char* kNext = "layer/next"; ///< becomes the upper directory
constexpr const char* kOld = "layer/old";   ///< was it, until a rollback
constexpr const char* kWork = "layer/work";
constexpr const char* kNote = "step"; ///< a link whose target says what is going on: it appears at once and whole

/// What was begun with a layer.
struct Step {
    enum class Kind : unsigned char { Freeze, Rollback, Remove };
    Kind kind = Kind::Remove;
    store::SnapshotId snapshot; ///< that is made, or gone back to
};

constexpr std::array<std::pair<Step::Kind, std::string_view>, 3> kWords{
    {{Step::Kind::Freeze, "freeze"}, {Step::Kind::Rollback, "rollback"}, {Step::Kind::Remove, "remove"}}};

Result<> note_step(int directory, const Step& step)
{
    for (const auto& [kind, word] : kWords)
        if (kind == step.kind && ::symlinkat(cat(word, ' ', step.snapshot.hex()).c_str(), directory, kNote) < 0)
            return fail_os(errno, "note a step of a working layer");
    return {};
}

Result<std::optional<Step>> find_step(int directory)
{
    std::string text(PATH_MAX, '\0');
    const auto got = ::readlinkat(directory, kNote, text.data(), text.size());
    if (got < 0) {
        if (errno == ENOENT) return std::optional<Step>{};
        return fail_os(errno, "read the note of a working layer");
    }
    text.resize(static_cast<std::size_t>(got));
    for (const auto& [kind, word] : kWords) {
        if (!text.starts_with(cat(word, ' '))) continue;
        Step step{.kind = kind, .snapshot = {}};
        step.snapshot = TRY(store::SnapshotId::parse(std::string_view{text}.substr(word.size() + 1)));
        return std::optional<Step>{step};
    }
    return fail(ErrorKind::Corrupt, cat("the note of a working layer says '", printable(text), "'"));
}

Result<> forget_step(int directory) { return os::remove_file(directory, kNote); }

/// Takes the new upper directory away again. Nobody can have written into it; if somebody did, it stays.
Result<> remove_empty(int directory, const char* path)
{
    if (::unlinkat(directory, path, AT_REMOVEDIR) == 0 || errno == ENOENT) return {};
    return fail_os(errno, cat("take away the new ", path, " of a working layer"));
}

/// Out of the way at once, whatever it holds; `sweep` removes it.
Result<> discard_directory(int directory, const std::string& path)
{
    return os::rename_at(directory, path, directory, cat(WorkingLayer::kDiscarded, random_hex(8)));
}

Result<os::Fd> open_layer(const store::Store& store, const std::string& name)
{
    return os::open_at(store.directory(), working_name(name), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

} // namespace

Result<> WorkingLayers::check_unmounted(const std::string& name) const
{
    for (const MountRecord& record : TRY(mounts_->records()))
        if (record.working == name)
            return fail(Error{ErrorKind::Conflict, cat("working layer ", name, " is mounted at ", record.path)}.hint(
                "unmount it first"));
    return {};
}

Result<> WorkingLayers::create(const std::string& name, const store::SnapshotId& snapshot)
{
    const std::lock_guard lock{mutex_};
    TRY(check_name(name));
    const auto look = TRY(look_of_snapshot(*store_, snapshot));
    // Before the row: what a directory without one holds may be all that is left of something.
    const bool known =
        TRY(store_->read([&](const store::View& view) { return store::find_working(view, name); })).has_value();
    if (!known && os::exists(store_->directory(), working_name(name)))
        return fail(
            Error{ErrorKind::Conflict, cat(working_name(name), " is there, but the database does not know it")}.hint(
                "look what it holds, and remove it"));
    TRY(store_->write([&](store::Txn& txn) { return store::add_working(txn, name, snapshot); }));
    step("create committed");
    const auto made = settle(name);
    if (!made) return fail(Error{made.error()}.with(cat("make working layer ", name)));
    return {};
}

Result<> WorkingLayers::remove(const std::string& name)
{
    const std::lock_guard lock{mutex_};
    TRY(store_->read([&](const store::View& view) { return store::get_working(view, name); }));
    TRY(check_unmounted(name));
    {
        const auto directory = TRY(open_layer(*store_, name));
        TRY(note_step(directory.get(), {.kind = Step::Kind::Remove, .snapshot = {}}));
    }
    step("remove noted");
    TRY(store_->write([&](store::Txn& txn) { return store::remove_working(txn, name); }));
    step("remove committed");
    const auto all = TRY(os::open_at(store_->directory(), "working", O_RDONLY | O_DIRECTORY));
    return discard_directory(all.get(), name);
}

Result<store::Snapshot> WorkingLayers::freeze(const std::string& name, const FreezeNote& note)
{
    const std::lock_guard lock{mutex_};
    const auto working = TRY(store_->read([&](const store::View& view) { return store::get_working(view, name); }));
    TRY(check_unmounted(name));
    const auto directory = TRY(open_layer(*store_, name));
    {
        const auto upper = TRY(os::open_at(directory.get(), kUpper, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
        TRY(note_boot(upper.get()));
        TRY(remove_empty(directory.get(), kNext)); // of a try that failed
        TRY(make_upper(directory.get(), kNext, TRY(look_of_directory(upper.get()))));
    }
    const auto id = security::make_random<store::SnapshotId>();
    TRY(note_step(directory.get(), {.kind = Step::Kind::Freeze, .snapshot = id}));
    step("freeze noted");
    const auto move = [&]() -> Result<store::Snapshot> {
        TRY(os::rename_at(directory.get(), kUpper, store_->directory(), frozen_name(id), false));
        step("freeze moved");
        TRY(os::rename_at(directory.get(), kNext, directory.get(), kUpper, false));
        step("freeze renewed");
        return store_->write([&](store::Txn& txn) -> Result<store::Snapshot> {
            const auto parent = TRY(store::get_snapshot(txn, working.snapshot));
            auto made = TRY(store::add_snapshot(txn, {.id = id,
                                                      .vdisk = parent.vdisk,
                                                      .parent = parent.id,
                                                      .state = store::SnapshotState::Frozen,
                                                      .bytes = 0,
                                                      .author = note.author,
                                                      .message = note.message,
                                                      .config = note.config.empty() ? parent.config : note.config}));
            TRY(store::move_working(txn, name, id));
            return made;
        });
    };
    auto frozen = move();
    step("freeze committed");
    // After a failure, too: what the database says now decides whether the move is kept or undone.
    TRY(settle(name));
    return with_context(std::move(frozen), cat("freeze working layer ", name));
}

Result<> WorkingLayers::rollback(const std::string& name, const store::SnapshotId& snapshot)
{
    const std::lock_guard lock{mutex_};
    TRY(store_->read([&](const store::View& view) { return store::get_working(view, name); }));
    TRY(check_unmounted(name));
    const auto directory = TRY(open_layer(*store_, name));
    TRY(remove_empty(directory.get(), kNext)); // of a try that failed
    TRY(make_upper(directory.get(), kNext, TRY(look_of_snapshot(*store_, snapshot))));
    TRY(note_step(directory.get(), {.kind = Step::Kind::Rollback, .snapshot = snapshot}));
    step("rollback noted");
    const auto move = [&]() -> Result<> {
        TRY(os::rename_at(directory.get(), kUpper, directory.get(), kOld, false));
        step("rollback moved");
        TRY(os::rename_at(directory.get(), kNext, directory.get(), kUpper, false));
        step("rollback renewed");
        return store_->write([&](store::Txn& txn) { return store::move_working(txn, name, snapshot); });
    };
    auto moved = move();
    step("rollback committed");
    TRY(settle(name));
    return with_context(std::move(moved), cat("roll working layer ", name, " back"));
}

/// Brings a layer's directories into agreement with its row. True if there was something to do.
Result<bool> WorkingLayers::settle(const std::string& name)
{
    const auto row = TRY(store_->read([&](const store::View& view) { return store::get_working(view, name); }));
    if (!os::exists(store_->directory(), working_name(name)))
        TRY(os::make_directory(store_->directory(), working_name(name), 0700));
    const auto opened = TRY(open_layer(*store_, name));
    const int directory = opened.get();
    const auto begun = TRY(find_step(directory));
    if (begun && begun->kind == Step::Kind::Freeze && os::exists(store_->directory(), frozen_name(begun->snapshot))) {
        const auto made =
            TRY(store_->read([&](const store::View& view) { return store::find_snapshot(view, begun->snapshot); }));
        if (!made) { // never committed: the layer gets back what it had
            TRY(remove_empty(directory, kUpper));
            TRY(os::rename_at(store_->directory(), frozen_name(begun->snapshot), directory, kUpper, false));
        }
    }
    if (begun && begun->kind == Step::Kind::Rollback && os::exists(directory, kOld)) {
        if (row.snapshot == begun->snapshot) {
            if (!os::exists(directory, kUpper)) TRY(os::rename_at(directory, kNext, directory, kUpper, false));
            TRY(discard_directory(directory, kOld));
            // Overlayfs left a mark in it if the layer was one to be thrown away, and would not take it again.
            if (os::exists(directory, kWork)) TRY(discard_directory(directory, kWork));
        } else {
            TRY(remove_empty(directory, kUpper));
            TRY(os::rename_at(directory, kOld, directory, kUpper, false));
        }
    }
    TRY(remove_empty(directory, kNext));
    const bool fresh = !os::exists(directory, kUpper);
    if (fresh) {
        if (!os::exists(directory, "layer")) TRY(os::make_directory(directory, "layer", 0700));
        TRY(make_upper(directory, kNext, TRY(look_of_snapshot(*store_, row.snapshot))));
        TRY(os::rename_at(directory, kNext, directory, kUpper, false));
    }
    TRY(WorkingLayer::open(directory)); // the rest of what a layer has
    if (begun) TRY(forget_step(directory));
    return begun.has_value() || fresh;
}

Result<WorkingLayers::Recovered> WorkingLayers::recover()
{
    const std::lock_guard lock{mutex_};
    Recovered recovered;
    const auto rows = TRY(store_->read([](const store::View& view) { return store::all_working(view); }));
    for (const store::Working& row : rows)
        if (TRY_DOING(cat("recover working layer ", row.name), settle(row.name))) recovered.settled.push_back(row.name);
    const auto all = TRY(os::open_at(store_->directory(), "working", O_RDONLY | O_DIRECTORY));
    for (const std::string& name : TRY(os::list_subdirectories(all.get(), "."))) {
        if (name.starts_with(WorkingLayer::kDiscarded)) continue;
        if (std::any_of(rows.begin(), rows.end(), [&](const store::Working& row) { return row.name == name; }))
            continue;
        const auto begun = TRY(find_step(TRY(open_layer(*store_, name)).get()));
        if (begun && begun->kind == Step::Kind::Remove) {
            TRY(discard_directory(all.get(), name));
            recovered.settled.push_back(name);
        } else {
            recovered.unknown.push_back(working_name(name));
        }
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
