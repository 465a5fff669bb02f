#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/store/collect.h"
#include "coppice/store/snapshot.h"
#include "fsck_parts.h"
#include "guards.h"

#include <algorithm>
#include <climits>
#include <set>
#include <unistd.h>

/// Directories that rows name, and rows for directories: frozen/ID, working/NAME, mounts/ID.json. What is in them is
/// vdisk's business.
namespace coppice::store {

namespace {

constexpr std::string_view kRecordSuffix = ".json";

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

void check_frozen(FsckRun& run, const Rows& rows, const std::set<std::string>& frozen,
                  const std::set<std::string>& steps)
{
    for (const Snapshot& one : rows.unsealed) {
        const auto id = one.id.hex();
        if (frozen.contains(id)) continue;
        run.find(one.state == SnapshotState::Frozen
                     ? cat("snapshot ", id, " was not durable when the machine went down, and is gone: remove it")
                     : cat("snapshot ", id, ": frozen/", id, " is missing"),
                 id);
    }
    for (const std::string& name : frozen) {
        const bool explained =
            rows.snapshots.contains(name) ||
            os::find_status(run.store.directory(), cat("frozen/.removing-", name), false)
                .value_or(std::nullopt)
                .has_value() ||
            std::any_of(steps.begin(), steps.end(), [&](const std::string& step) { return step.ends_with(name); });
        if (!explained) run.find(cat("frozen/", name, " belongs to no snapshot"));
    }
}

void check_working(FsckRun& run, const Rows& rows, const std::set<std::string>& working)
{
    for (const std::string& name : rows.working)
        if (!working.contains(name)) run.find(cat("working layer ", name, ": working/", name, " is missing"));
    for (const std::string& name : working)
        if (!rows.working.contains(name) && !step_of(run.store, name).starts_with("remove"))
            run.find(cat("working/", name, " belongs to no working layer"));
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
    const auto rows = TRY(read_rows(run.store));
    check_frozen(run, rows, frozen, steps);
    check_working(run, rows, working);
    for (const std::string& name : mounts)
        if (name.ends_with(kRecordSuffix) && !rows.leases.contains(name.substr(0, name.size() - kRecordSuffix.size())))
            run.find(cat("mounts/", name, ": nothing keeps what it has mounted from being removed"));
    return check_forgotten(run);
}

} // namespace coppice::store
