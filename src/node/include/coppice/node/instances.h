#pragma once

#include "coppice/instance/config.h"
#include "coppice/instance/store.h"
#include "coppice/os/fd.h"
#include "coppice/storage/storage.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace coppice::node {

/// Something that happened to an instance: "started", "ended" (with its exit status), "removed".
struct News {
    std::string_view what;
    std::string name;
    int status = 0;
};

/// The instances of this node that run on vdisks: each writes into the branch of its own name, and is looked after by a
/// supervisor of its own, which outlives this process. Any thread.
///
/// A branch is given to one instance at a time. What the mode demands of it at the end (shared: undone; with --rm:
/// removed) is done here, when the supervisor tells of it; or at the next start, if nobody was there to hear.
class Instances {
public:
    /// Finds supervisors that run, and finishes what others left. @param tell of each piece of news, from any thread
    /// Errors: Denied, Unavailable
    static Result<std::unique_ptr<Instances>> open(storage::Storage& storage, const std::string& root,
                                                   std::function<void(const News&)> tell);
    Instances(const Instances&) = delete;
    Instances& operator=(const Instances&) = delete;
    ~Instances(); ///< leaves them running

    /// Starts an instance: a new one on `config.snapshot`, or the one of that name, which has stopped.
    /// @param config `created`, `started`, `exit_status` count for nothing
    /// @returns for an attached one the socket on which its supervisor speaks with who started it (`Say` in the
    /// instance module's protocol), before it runs; for a detached one nothing, when it runs
    /// Errors: Conflict (it runs; the name is a vdisk's or a branch's; another root), those of the start of a detached
    /// one
    Result<os::Fd> run(instance::InstanceConfig config, bool detached);
    struct Known {
        instance::InstanceConfig config;
        bool is_running = false;
    };
    /// By name. One that cannot be read is left out, and logged.
    Result<std::vector<Known>> list() const;
    /// Errors: NotFound
    Result<Known> find(const std::string& name) const;
    /// Paths of the files that its identity of its own made new or removed; none before its first start.
    /// Errors: NotFound, Corrupt
    Result<std::vector<std::string>> personalised(const std::string& name) const;
    /// With its branch and all that is in it. Errors: NotFound, Conflict (it runs)
    Result<> remove(const std::string& name);

private:
    struct Running;
    Instances(storage::Storage& storage, instance::InstanceStore store, std::function<void(const News&)> tell);
    Result<> recover();
    Result<> adopt(const instance::InstanceConfig& config);
    Result<bool> prepare(instance::InstanceConfig& config);
    Result<> launch(const std::shared_ptr<Running>& running, bool detached, os::Fd client);
    bool listen(const std::shared_ptr<Running>& running);
    Result<os::Fd> mount(const Running& running, std::string_view first_id, const os::Fd& user_namespace);
    Result<> personalise(const instance::InstanceConfig& config, const os::Fd& root, std::uint32_t root_id);
    void give_up(const std::shared_ptr<Running>& running);
    Result<> settle(const instance::InstanceConfig& config);
    Result<> settle_branch(const instance::InstanceConfig& config);
    void forget(const std::string& name);

    struct Parts;
    std::unique_ptr<Parts> parts_;
};

} // namespace coppice::node
