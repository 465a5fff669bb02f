#pragma once

#include "coppice/instance/store.h"
#include "coppice/storage/storage.h"
#include "timers.h"

#include <functional>
#include <map>
#include <string>

namespace coppice::node {

/// Makes snapshots of instances when their schedules say so, and takes old ones away again. Any thread.
class Schedules {
public:
    using Take = std::function<Result<>(const std::string& name, const vdisk::FreezeNote& note)>;
    /// @param take makes a snapshot of what the instance holds. Errors: Conflict (not now: it is left out)
    Schedules(storage::Storage& storage, const instance::InstanceStore& store, Take take);

    /// At the start: what was missed before is made up for, once.
    void begin();
    /// There may be an instance of this name now, or none any more, or one with other schedules. Does not block.
    void look_at(const std::string& name);

private:
    struct Plan {
        std::map<std::string, std::time_t> served; ///< by schedule: up to when
        std::uint64_t timer = 0;
    };
    enum class Missed : unsigned char { MadeUpFor, LetGo };
    void go_on_with(const std::string& name, Missed missed);
    void serve(const instance::InstanceConfig& config, const instance::SnapshotSchedule& schedule, std::time_t& served,
               bool& has_taken);
    std::time_t served_before(const instance::InstanceConfig& config, const instance::SnapshotSchedule& schedule);
    bool take(const std::string& name, const instance::SnapshotSchedule& schedule);
    Result<> expire(const std::string& name, const instance::SnapshotSchedule& schedule);

    storage::Storage* storage_;
    const instance::InstanceStore* store_;
    Take take_;
    std::map<std::string, Plan> plans_; ///< of the timers' thread
    Timers timers_;                     ///< of its own: a snapshot may take its time. Last: it uses the others
};

} // namespace coppice::node
