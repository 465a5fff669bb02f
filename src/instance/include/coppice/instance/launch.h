#pragma once

#include "coppice/instance/config.h"
#include "coppice/instance/store.h"
#include "coppice/os/fd.h"
#include "coppice/os/process.h"

#include <optional>
#include <string>

namespace coppice::instance {

/// A running instance as its starter sees it. The instance ends when this object goes, unless it was detached.
class RunningInstance {
public:
    /// Starts an instance under a supervisor of its own and waits until its program has been executed. Standard input,
    /// output and error of this process become the instance's when it is attached and has no terminal.
    /// If the supervisor is killed meanwhile, what it had made is undone. Blocks. Needs a single-threaded caller.
    /// Errors: whatever starting it ran into; CommandNotFound and CommandNotExecutable for the command
    static Result<RunningInstance> start(const InstanceStore& store, const InstanceConfig& config, bool detached);

    /// Joins one that the daemon has begun to start for us, and waits until its program has been executed. Our standard
    /// input, output and error become the instance's when it has no terminal. Blocks. Errors: as `start`
    static Result<RunningInstance> join(os::Fd link, const std::string& name, bool terminal);

    /// Attaches us to one that somebody has started. Errors: NotFound; Conflict (it does not run, or is attended)
    /// @param with_streams else we only hear of its end
    static Result<RunningInstance> attach(const InstanceStore& store, const std::string& name, bool with_streams);
    /// What is copied between the instance and whoever attached to it.
    struct Streams {
        os::Fd output, errors; ///< to be read; with a terminal there are no errors
        os::Fd input;          ///< to be written; not open when it takes none
        bool terminal = false; ///< `input` is its master
    };
    [[nodiscard]] Streams& streams() { return streams_; }

    [[nodiscard]] os::Fd& terminal() { return terminal_; }         ///< open when it has one and we started it
    [[nodiscard]] const os::Fd& events() const { return socket_; } ///< readable when `next` has something to say

    /// Sends a signal to the instance's first process.
    Result<> send(int signal) const;
    struct End {
        int status = 0;
        std::string note; ///< for the user; may be empty
    };
    /// The end of an attached instance; empty while there is none. Call it when `events` is readable.
    Result<std::optional<End>> next();
    /// Leaves a detached instance to its supervisor.
    Result<> detach();

    RunningInstance(RunningInstance&&) noexcept = default;
    RunningInstance& operator=(RunningInstance&&) = delete;
    ~RunningInstance();

private:
    RunningInstance(const InstanceStore* store, std::string name, os::Process supervisor, os::Fd socket)
        : store_{store}, name_{std::move(name)}, supervisor_{std::move(supervisor)}, socket_{std::move(socket)}
    {
    }
    Error supervisor_died();
    Result<> wait_for_start();
    Result<> reap();

    const InstanceStore* store_; ///< null when the daemon made the supervisor, and cleans up after it
    std::string name_;
    os::Process supervisor_; ///< ours, or none
    os::Fd socket_, terminal_;
    Streams streams_;
};

} // namespace coppice::instance
