#include "schedules.h"

#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/store/origin.h"
#include "parts.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace coppice::node {

using instance::InstanceConfig;
using instance::SnapshotSchedule;

namespace {

constexpr std::time_t kLongestWait = 600; ///< seconds: somebody may set the clock, or the machine has slept

std::chrono::nanoseconds until(std::time_t when)
{
    const timespec at = now();
    return std::chrono::seconds{when - at.tv_sec} - std::chrono::nanoseconds{at.tv_nsec};
}

} // namespace

void Instances::keep_schedules()
{
    const auto take = [this](const std::string& name, const vdisk::FreezeNote& note) -> Result<> {
        TRY(snapshot(name, note, store::unwatched));
        return {};
    };
    parts_->schedules = std::make_unique<Schedules>(parts_->storage, parts_->store, take);
}

Schedules::Schedules(storage::Storage& storage, const instance::InstanceStore& store, Take take)
    : storage_{&storage}, store_{&store}, take_{std::move(take)}
{
}

void Schedules::begin()
{
    const auto names = store_->list();
    if (!names) return log::error("node", "no schedules are kept", {{"error", names.error().line()}});
    for (const std::string& name : *names)
        timers_.add(std::chrono::seconds{0}, [this, name] { go_on_with(name, Missed::MadeUpFor); });
}

void Schedules::look_at(const std::string& name)
{
    timers_.add(std::chrono::seconds{0}, [this, name] { go_on_with(name, Missed::LetGo); });
}

void Schedules::go_on_with(const std::string& name, Missed missed)
{
    Plan plan;
    if (const auto known = plans_.find(name); known != plans_.end()) {
        timers_.cancel(known->second.timer);
        plan = std::move(known->second);
        plans_.erase(known);
    }
    const auto config = store_->read_config(name);
    if (!config || config->snapshots.empty()) return;
    const std::time_t at = now().tv_sec;
    std::time_t next = at + kLongestWait;
    Plan further;
    bool has_taken = false;
    for (const SnapshotSchedule& schedule : config->snapshots) {
        const auto known = plan.served.find(schedule.name);
        std::time_t served = known != plan.served.end() ? known->second
                             : missed == Missed::LetGo  ? at
                                                        : served_before(*config, schedule);
        serve(*config, schedule, served, has_taken);
        further.served[schedule.name] = served;
        next = std::min(next, instance::next_due(schedule, at));
    }
    further.timer = timers_.add(until(next), [this, name] { go_on_with(name, Missed::LetGo); });
    plans_[name] = std::move(further);
}

/// When the last one was made, or could first have been.
std::time_t Schedules::served_before(const InstanceConfig& config, const SnapshotSchedule& schedule)
{
    constexpr std::int64_t kNanoseconds = 1'000'000'000;
    const auto taken =
        storage_->store().read([&](const store::View& view) { return store::taken_of(view, config.name); });
    if (taken)
        for (const store::Taken& one : *taken)
            if (one.schedule == schedule.name) return store::nanoseconds(one.snapshot.created) / kNanoseconds;
    const auto created = parse_rfc3339(config.created);
    return created ? created->tv_sec : now().tv_sec;
}

/// @param has_taken one that was due at the same time: each schedule keeps its own, though the later ones are empty
void Schedules::serve(const InstanceConfig& config, const SnapshotSchedule& schedule, std::time_t& served,
                      bool& has_taken)
{
    const std::time_t due = instance::latest_due(schedule, now().tv_sec);
    if (due <= served) return;
    served = due;
    const auto empty = storage_->layers().is_empty(config.name);
    if (has_taken || !empty || !*empty) has_taken = take(config.name, schedule); // else it would be as the one before
    if (const auto expired = expire(config.name, schedule); !expired)
        log::debug("node", "old snapshots stay until the next time",
                   {{"instance", config.name}, {"schedule", schedule.name}, {"error", expired.error().line()}});
}

bool Schedules::take(const std::string& name, const SnapshotSchedule& schedule)
{
    vdisk::FreezeNote note;
    note.author = cat("schedule ", schedule.name);
    note.message = cat("what ", name, " held when it was due");
    note.schedule = schedule.name;
    const auto taken = take_(name, note);
    if (taken) return true;
    const auto level = taken.error().kind() == ErrorKind::Conflict ? log::Level::Warn : log::Level::Error;
    log::write(level, "node", "a snapshot that was due is left out",
               {{"instance", name}, {"schedule", schedule.name}, {"error", taken.error().line()}});
    return false;
}

/// Those that nothing depends on; of the others one finds out the next time.
Result<> Schedules::expire(const std::string& name, const SnapshotSchedule& schedule)
{
    auto taken = TRY(storage_->store().read([&](const store::View& view) { return store::taken_of(view, name); }));
    std::erase_if(taken, [&](const store::Taken& one) { return one.schedule != schedule.name; });
    for (std::size_t i = schedule.keep; i < taken.size(); ++i) { // latest first: children before parents
        const store::SnapshotId& id = taken[i].snapshot.id;
        const auto needed =
            TRY(storage_->store().read([&](const store::View& view) { return store::dependents(view, id); }));
        if (!needed.empty()) continue;
        TRY(storage_->remove({}, {&id, 1}, [&](store::Txn& txn) { return store::remove_snapshot(txn, id); }));
    }
    return {};
}

} // namespace coppice::node
