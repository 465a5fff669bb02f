#pragma once

#include "coppice/node/instances.h"
#include "coppice/os/process.h"
#include "link_pool.h"
#include "schedules.h"
#include "ssh_keys.h"
#include "timers.h"

#include <condition_variable>
#include <map>
#include <mutex>

namespace coppice::node {

/// An instance from its launch to the end of its supervisor.
struct Instances::Running {
    instance::InstanceConfig config;
    bool is_new = false;
    bool by_policy = false; ///< nobody waits for its start: a failure is one more reason to try again
    os::Process supervisor; ///< none for one that an earlier daemon started
    os::Fd link;
    std::optional<Result<>> started; ///< under the mutex of Parts
    bool has_ended = false;          ///< its end was told, or why it did not start:
    std::optional<instance::Ended> ended;
    std::optional<Error> failure;
};

struct Instances::Parts {
    storage::Storage& storage;
    instance::InstanceStore store;
    std::function<void(const News&)> tell;
    std::mutex mutex = {}; ///< of the next ones, down to the links
    std::condition_variable changed = {};
    std::map<std::string, std::shared_ptr<Running>> running = {};
    struct Restart {
        std::uint64_t timer = 0; ///< until then; 0: it has been started
        unsigned failures = 0;   ///< one soon after another
        bool at_end = false;     ///< somebody has asked for it: whatever the policy says, when it has ended
    };
    std::map<std::string, Restart> restarts = {}; ///< of those that their policy has started, or is to start
    SshKeys ssh_keys = {};
    std::unique_ptr<Schedules> schedules = {};
    std::unique_ptr<LinkPool> links = {}; ///< its threads use the others
    std::unique_ptr<Timers> timers = {};  ///< last, for the same reason
};

Error runs_already(const std::string& name);

} // namespace coppice::node
