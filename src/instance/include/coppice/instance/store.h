#pragma once

#include "coppice/instance/config.h"
#include "coppice/os/fd.h"
#include "coppice/os/lock.h"
#include "coppice/runtime/state.h"

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace coppice::instance {

/// Where instances live: ROOT/instances/NAME holds instance.json, the working layer, the log and the lock of whoever
/// runs it; ROOT/runtime the runtime's state. Any number of processes use a root at once.
class InstanceStore {
public:
    /// Makes the directories when missing. Errors: Denied, Unavailable (disk full)
    static Result<InstanceStore> open(const std::string& root);
    /// The same for commands that only look: a store that is not there is an empty one, and nothing is made.
    static Result<InstanceStore> look(const std::string& root);

    [[nodiscard]] const std::string& root() const { return root_; }
    [[nodiscard]] const os::Fd& instances() const { return instances_; }
    [[nodiscard]] Result<runtime::StateRoot> runtime_root() const
    {
        return runtime::StateRoot::open(root_ + "/runtime");
    }

    /// Cgroup of an instance, absolute in every hierarchy: /coppice/NAME. Stores other than the default one add a mark
    /// of their own, so that the same name may be used in several.
    [[nodiscard]] std::string cgroup_of(const std::string& name) const;

    /// An instance's directory with its lock held: it cannot be running elsewhere.
    struct Held {
        os::Fd directory;
        os::FileLock lock;
    };
    /// Makes a new instance. Errors: Conflict (the name is taken)
    Result<Held> make(const InstanceConfig& config) const;
    /// What was made lasts beyond a power cut.
    [[nodiscard]] Result<> sync() const;
    /// Takes hold of an existing one. Errors: NotFound, Conflict (it is running)
    Result<Held> hold(const std::string& name) const;

    [[nodiscard]] Result<os::Fd> find_directory(const std::string& name) const; ///< Errors: NotFound, Invalid
    [[nodiscard]] Result<InstanceConfig> read_config(const std::string& name) const;
    /// Whatever name is in it.
    static Result<InstanceConfig> read_config_in(const os::Fd& directory);
    static Result<> write_config(const os::Fd& directory, const InstanceConfig& config);
    /// Changes what is remembered of an instance, running or not; one at a time does. @returns how it is now
    /// Errors: NotFound, those of `edit`
    Result<InstanceConfig> change(const std::string& name, const std::function<Result<>(InstanceConfig&)>& edit) const;
    [[nodiscard]] Result<bool> is_running(const std::string& name) const; ///< somebody holds its lock
    /// Names in alphabetical order.
    [[nodiscard]] Result<std::vector<std::string>> list() const;

    /// Undoes what a run left, as its end would have done, and what a killed one could not: its processes, cgroup and
    /// runtime state, the working layer in shared mode, everything with --rm or when it never ran. Safe to repeat. The
    /// caller holds it.
    Result<> clean_up(const Held& held, const InstanceConfig& config) const;
    /// Deletes an instance with all it wrote. The caller holds it. Needs nothing but the name: a damaged description
    /// does not keep it.
    Result<> remove(const Held& held, const std::string& name) const;

private:
    /// Removes what the runtime has of an instance.
    [[nodiscard]] Result<> remove_container(const std::string& name) const;
    InstanceStore(std::string root, os::Fd instances) : root_{std::move(root)}, instances_{std::move(instances)} {}
    std::string root_;
    os::Fd instances_; ///< not open in an empty store that is not there
};

inline constexpr const char* kDefaultRoot = "/var/lib/coppice";
inline constexpr const char* kIdRangeLocks = "/run/coppice/id-ranges"; ///< see IdRange

/// Names that begin with this are being made or removed; they belong to no instance.
inline constexpr std::string_view kUnfinished = ".unfinished-";
/// What such a name begins with when it is about this instance. Instance names may hold dots; the rest is hexadecimal.
inline std::string unfinished_prefix(const std::string& instance) { return std::string{kUnfinished} + instance + '.'; }

/// File in an instance's directory that whoever runs or changes it holds a lock on.
inline constexpr const char* kInstanceLock = "lock";
/// The same for whoever changes its description.
inline constexpr const char* kEditLock = "edit-lock";
/// What the daemon made to tell a copy of an image from others; it belongs to module node.
inline constexpr const char* kIdentity = "identity.json";
/// A description or identity that was being written when its writer was killed.
bool is_interrupted_write(std::string_view file);

} // namespace coppice::instance
