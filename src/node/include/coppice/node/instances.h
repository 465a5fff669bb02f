#pragma once

#include "coppice/instance/config.h"
#include "coppice/instance/health.h"
#include "coppice/instance/protocol.h"
#include "coppice/instance/stop.h"
#include "coppice/instance/store.h"
#include "coppice/os/fd.h"
#include "coppice/storage/storage.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace coppice::node {

/// Something that happened to an instance: "created", "started", "paused", "resumed", "ended" (with its exit status),
/// "healthy", "unhealthy", "restarting", "renamed", "updated", "kept", "undone", "removed".
struct News {
    std::string_view what;
    std::string name;
    int status = 0;
    std::string note = {}; ///< of an end: what else is to be said of it
};

enum class State : unsigned char {
    Created, ///< has not run yet
    Running,
    Paused,
    Restarting, ///< its restart policy starts it in a moment
    Undecided,  ///< has ended; somebody is to say what becomes of its writes
    Exited,
    Stopped, ///< has ended, and nobody knows how: the machine or its supervisor died
};
std::string_view to_word(State state);

/// The instances of this node that the daemon looks after. Each is run by a supervisor of its own, which outlives this
/// process; one on a vdisk writes into the branch of its own name. Any thread.
///
/// A branch is given to one instance at a time. What the mode demands of it at the end (shared: undone; with --rm:
/// removed; see instance::OnStop) is done here, when the supervisor tells of it; or at the next start, if nobody was
/// there to hear. Restart policies act here, too.
class Instances {
public:
    /// Finds supervisors that run, finishes what others left, and starts what restart policies say.
    /// @param tell of each piece of news, from any thread
    /// Errors: Denied, Unavailable
    static Result<std::unique_ptr<Instances>> open(storage::Storage& storage, const std::string& root,
                                                   std::function<void(const News&)> tell);
    Instances(const Instances&) = delete;
    Instances& operator=(const Instances&) = delete;
    ~Instances(); ///< leaves them running

    /// Makes an instance that has not run yet. Errors: Conflict (the name is taken)
    Result<> create(instance::InstanceConfig config);
    /// Starts an instance: a new one on `config.snapshot` or `config.root`, or the one of that name, which has stopped.
    /// @param config what has become of it counts for nothing
    /// @returns for an attached one the socket on which its supervisor speaks with who started it (`Say` in the
    /// instance module's protocol), before it runs; for a detached one nothing, when it runs
    /// Errors: Conflict (it runs, or is undecided; the name is a vdisk's or a branch's; another root), those of the
    /// start of a detached one
    Result<os::Fd> run(instance::InstanceConfig config, bool detached);
    /// The same for one that is there, as it is described. Errors: also NotFound
    Result<os::Fd> start(const std::string& name, bool detached);

    /// Asks it to end, and sees to it that it is killed when it has not by then. Does not wait for that: who wants to
    /// attaches to it, or hears the news. One that does not run is fine. Its restart policy leaves it alone from now
    /// on. Errors: NotFound
    Result<> stop(const std::string& name, const instance::StopWish& wish);
    /// The same, and starts it when it has ended. One that does not run is started at once. Errors: NotFound, Conflict
    Result<> restart(const std::string& name, const instance::StopWish& wish);
    Result<> kill(const std::string& name, int signal); ///< Errors: NotFound, Conflict (does not run)
    Result<> pause(const std::string& name);            ///< Errors: NotFound, Conflict (does not run, is paused)
    Result<> resume(const std::string& name);           ///< Errors: NotFound, Conflict (is not paused)
    /// What it has written becomes a snapshot. One that runs is halted while the last differences are copied, and stays
    /// above the snapshot that it was above; one that does not is frozen. @param watch as WorkingLayers::capture
    /// Errors: as Storage::snapshot and Storage::capture; Invalid (on a path)
    Result<vdisk::Captured> snapshot(const std::string& name, const vdisk::FreezeNote& note, const store::Watch& watch);
    /// Changes limits, restart policy and the like, at once where it runs.
    /// @param edit of what is remembered. Errors: its own, those of instance::change_limits, NotFound
    Result<> update(const std::string& name, const std::function<Result<>(instance::InstanceConfig&)>& edit);
    /// Of an undecided one: keeps its writes, or undoes them. Errors: NotFound, Conflict (nothing is to be decided)
    Result<> decide(const std::string& name, bool keep);
    /// What a branch of an instance is made of.
    struct BranchWish {
        std::vector<std::string> names; ///< of the new ones
        std::optional<store::SnapshotId> from =
            {};             ///< empty: what the instance holds now, which becomes a snapshot, also while it runs
        std::string author; ///< of that
    };
    /// New instances that are described as this one is, and have not run. All of them, or none.
    /// @returns what they stand on. Errors: NotFound, Conflict (a name is taken), Invalid (it is on no vdisk)
    Result<store::SnapshotId> branch(const std::string& name, const BranchWish& wish);
    /// Another name, for its branch, too. After a kill at any point it has the one or the other when we start again.
    /// Errors: NotFound, Conflict (it runs; the name is an instance's, a branch's or a vdisk's), Invalid (name)
    Result<> rename(const std::string& name, const std::string& to);
    /// That nothing has the name which may become an instance's. Errors: Conflict, Invalid
    Result<> check_free(const std::string& name) const;
    /// Where an instance of that name has its directory.
    [[nodiscard]] std::string path_of(const std::string& name) const;
    /// With its branch and all that is in it. Errors: NotFound, Conflict (it runs)
    Result<> remove(const std::string& name);

    struct Known {
        instance::InstanceConfig config;
        State state = State::Stopped;
        std::optional<instance::HealthReport> health = {}; ///< while it runs and has a check
    };
    /// By name. One that cannot be read is left out, and logged.
    Result<std::vector<Known>> list() const;
    /// Errors: NotFound
    Result<Known> find(const std::string& name) const;
    /// Paths of the files that its identity of its own made new or removed; none before its first start.
    /// Errors: NotFound, Corrupt
    Result<std::vector<std::string>> personalised(const std::string& name) const;

private:
    struct Running;
    Instances(storage::Storage& storage, instance::InstanceStore store, std::function<void(const News&)> tell);
    Result<> recover();
    void end_halts();
    Result<vdisk::Captured> freeze(const std::string& name, const vdisk::FreezeNote& note);
    Result<> rename_claimed(const std::string& name, const std::string& to);
    Result<> finish_rename(const std::string& name);
    Result<> finish_renames();
    Result<> adopt(const instance::InstanceConfig& config);
    void start_by_policy_at_boot();
    void keep_schedules();
    Result<bool> prepare(instance::InstanceConfig& config);
    Result<> make_branches(const std::string& snapshot, std::span<const std::string> names);
    Result<> with_names(std::span<const std::string> names, const std::function<Result<>()>& body);
    Result<> create(std::span<const std::string> names, instance::InstanceConfig config);
    Result<> make(std::span<const std::string> names, instance::InstanceConfig config);
    Result<> unmake(const std::string& name);
    Result<> launch(const std::shared_ptr<Running>& running, bool detached, os::Fd client);
    Result<> begin(const std::shared_ptr<Running>& running, bool detached, os::Fd& client);
    bool listen(const std::shared_ptr<Running>& running);
    Result<os::Fd> mount(const Running& running, std::string_view first_id, const os::Fd& user_namespace);
    void end(const std::shared_ptr<Running>& running, const std::optional<instance::Ended>& ended);
    Result<> personalise(const instance::InstanceConfig& config, const os::Fd& root, std::uint32_t root_id);
    void give_up(const std::shared_ptr<Running>& running);
    void consider_restart(const Running& running);
    void start_again_in(const std::string& name, std::chrono::milliseconds delay);
    void start_again(const std::string& name);
    void forget_restart(const std::string& name);
    void rename_restart(const std::string& name, const std::string& to);
    Result<> claim(const std::string& name, const std::shared_ptr<Running>& running);
    Result<bool> ask_to_stop(const std::string& name, const instance::StopWish& wish);
    Result<> settle(const instance::InstanceConfig& config);
    Result<> take_away(const std::string& name);
    [[nodiscard]] Result<bool> has_branch(const std::string& name) const;
    Result<> settle_branch(const instance::InstanceConfig& config);
    Result<> branch_off(const instance::InstanceConfig& config);
    void forget(const std::string& name);
    Result<State> state_of(const instance::InstanceConfig& config) const;

    struct Parts;
    std::unique_ptr<Parts> parts_;
};

} // namespace coppice::node
