#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/store/collect.h"
#include "coppice/store/snapshot.h"
#include "fsck_parts.h"
#include "guards.h"

#include <algorithm>
#include <chrono>
#include <climits>
#include <functional>
#include <set>
#include <thread>
#include <unistd.h>

/// Directories that rows name, and rows for directories: frozen/ID, working/NAME, mounts/ID.json. What is in them is
/// vdisk's business.
namespace coppice::store {

namespace {

constexpr std::string_view kRecordSuffix = ".json";
constexpr int kPauses = 5; ///< before a second look: a row is there a moment before its branch's directory
constexpr std::chrono::milliseconds kPause{60};

/// Names below a directory of the store; those that begin with a dot are being removed.
Result<std::set<std::string>> names_in(const Store& store, const std::string& directory)
{
    std::set<std::string> names;
    if (!os::exists(store.directory(), directory)) return names;
    for (std::string& name : TRY(os::list_directory(store.directory(), directory)))
        if (!name.starts_with('.')) names.insert(std::move(name));
    return names;
}

/// What is noted to be going on with working layers; see vdisk::WorkingLayers. "": nothing
std::string step_of(const Store& store, const std::string& working)
{
    std::string text(PATH_MAX, '\0');
    const auto got =
        ::readlinkat(store.directory(), cat("working/", working, "/step").c_str(), text.data(), text.size());
    text.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    return text;
}

struct Rows {
    std::vector<Snapshot> unsealed;
    std::set<std::string> snapshots, working, leases;
};

Result<Rows> read_rows(const Store& store)
{
    return store.read([](const View& view) -> Result<Rows> {
        Rows rows;
        rows.unsealed = TRY(unsealed(view));
        auto query = TRY(view.db().query("SELECT id FROM snapshot"));
        while (TRY(query.next()))
            rows.snapshots.insert(TRY(query.name<SnapshotId>(0)).hex());
        for (const Working& one : TRY(all_working(view)))
            rows.working.insert(one.name);
        for (const Lease& one : TRY(leases(view)))
            rows.leases.insert(one.id);
        return rows;
    });
}

/// What does not fit. Others freeze, branch, mount and remove meanwhile, so it is no finding yet.
struct Doubt {
    std::string what, lost_for;
    std::function<Result<bool>()> is_so; ///< a second look
};

/// A row that is still there after its directory was not: the directory comes before the row and goes after it.
Doubt missing_frozen(const Store& store, const Snapshot& row)
{
    const auto id = row.id.hex();
    const auto is_so = [&store, row]() -> Result<bool> {
        if (TRY(os::is_there(store.directory(), cat("frozen/", row.id.hex())))) return false;
        const auto now = TRY(store.read([&](const View& view) { return find_snapshot(view, row.id); }));
        return now && now->state == row.state;
    };
    return {.what = row.state == SnapshotState::Frozen
                        ? cat("snapshot ", id, " was not durable when the machine went down, and is gone: remove it")
                        : cat("snapshot ", id, ": frozen/", id, " is missing"),
            .lost_for = id,
            .is_so = is_so};
}

Result<bool> is_known(const Store& store, const std::string& working)
{
    const auto row = TRY(store.read([&](const View& view) { return find_working(view, working); }));
    return row.has_value();
}

/// @param steps,rows read after `frozen`: what was there has a row by then, or a note
Result<> doubt_frozen(const Store& store, const Rows& rows, const std::set<std::string>& frozen,
                      const std::set<std::string>& steps, std::vector<Doubt>& doubts)
{
    for (const Snapshot& one : rows.unsealed)
        if (!frozen.contains(one.id.hex())) doubts.push_back(missing_frozen(store, one));
    for (const std::string& name : frozen) {
        const bool explained =
            rows.snapshots.contains(name) || TRY(os::is_there(store.directory(), cat("frozen/.removing-", name))) ||
            std::any_of(steps.begin(), steps.end(), [&](const std::string& step) { return step.ends_with(name); });
        if (explained) continue;
        doubts.push_back({.what = cat("frozen/", name, " belongs to no snapshot"),
                          .lost_for = {},
                          .is_so = [&store, name] { return os::is_there(store.directory(), cat("frozen/", name)); }});
    }
    return {};
}

void doubt_working(const Store& store, const Rows& rows, const std::set<std::string>& working,
                   std::vector<Doubt>& doubts)
{
    for (const std::string& name : rows.working)
        if (!working.contains(name))
            doubts.push_back({.what = cat("working layer ", name, ": working/", name, " is missing"),
                              .lost_for = {},
                              .is_so = [&store, name]() -> Result<bool> {
                                  if (TRY(os::is_there(store.directory(), cat("working/", name)))) return false;
                                  return is_known(store, name);
                              }});
    for (const std::string& name : working)
        if (!rows.working.contains(name) && !step_of(store, name).starts_with("remove"))
            doubts.push_back({.what = cat("working/", name, " belongs to no working layer"),
                              .lost_for = {},
                              .is_so = [&store, name]() -> Result<bool> {
                                  if (!TRY(os::is_there(store.directory(), cat("working/", name)))) return false;
                                  return !TRY(is_known(store, name));
                              }});
}

void doubt_mounts(const Store& store, const Rows& rows, const std::set<std::string>& mounts, std::vector<Doubt>& doubts)
{
    for (const std::string& name : mounts) {
        if (!name.ends_with(kRecordSuffix) || rows.leases.contains(name.substr(0, name.size() - kRecordSuffix.size())))
            continue;
        doubts.push_back({.what = cat("mounts/", name, ": nothing keeps what it has mounted from being removed"),
                          .lost_for = {},
                          .is_so = [&store, name] { return os::is_there(store.directory(), cat("mounts/", name)); }});
    }
}

/// What is still so after others have had the time to finish a step.
Result<> settle(FsckRun& run, const std::vector<Doubt>& doubts)
{
    if (doubts.empty()) return {};
    step("directories doubted");
    for (int i = 0; i < kPauses; ++i) {
        TRY(run.count(0));
        std::this_thread::sleep_for(kPause);
    }
    for (const Doubt& doubt : doubts)
        if (TRY(doubt.is_so())) run.find(doubt.what, doubt.lost_for);
    return {};
}

/// What the daily collection should have taken.
Result<> check_forgotten(FsckRun& run)
{
    const std::lock_guard lock{run.store.layer_guard().mutex};
    for (const std::string& path : TRY(forgotten_files(run.store, after(now(), -CollectOptions{}.grace_seconds)))) {
        if (run.repairs()) TRY(remove_forgotten(run.store, path));
        run.find(cat(path, " belongs to no layer"), {}, run.repairs());
    }
    return {};
}

} // namespace

Result<> check_directories(FsckRun& run)
{
    // Directories first: what comes later has its row before it, or a note.
    const auto frozen = TRY(names_in(run.store, "frozen"));
    const auto working = TRY(names_in(run.store, "working"));
    const auto mounts = TRY(names_in(run.store, "mounts"));
    std::set<std::string> steps;
    for (const std::string& name : working)
        steps.insert(step_of(run.store, name));
    step("directories read");
    const auto rows = TRY(read_rows(run.store));
    std::vector<Doubt> doubts;
    TRY(doubt_frozen(run.store, rows, frozen, steps, doubts));
    doubt_working(run.store, rows, working, doubts);
    doubt_mounts(run.store, rows, mounts, doubts);
    TRY(settle(run, doubts));
    return check_forgotten(run);
}

} // namespace coppice::store
