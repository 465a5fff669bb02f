#pragma once

#include "coppice/os/cgroup.h"
#include "coppice/os/fd.h"
#include "coppice/os/lock.h"
#include "coppice/os/process.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace coppice::runtime {

/// OCI status words, and `paused` as every runtime has it. A creation that was killed counts as stopped: it can only be
/// deleted. Unknown is for those who have to go on when `status_of` fails.
enum class Status : unsigned char { Creating, Created, Running, Paused, Stopped, Unknown };
std::string_view to_word(Status status);

/// A cgroup that systemd looks after.
struct ScopeRecord {
    std::string unit;
    bool of_user = false; ///< of the user's systemd, not the system's
};

/// What is remembered of a container, in DIR/state.json of the state root. Source: runtime-spec runtime.md "State"
struct StateRecord {
    std::string id, bundle, oci_version;
    pid_t pid = 0;                ///< 0 until there is one
    std::uint64_t start_time = 0; ///< of pid, see os::process_start_time
    std::string created;          ///< RFC 3339
    std::string root_path;
    uid_t owner = 0;
    os::CgroupPaths cgroup;           ///< empty directories: it has none of its own
    std::optional<ScopeRecord> scope; ///< with the systemd cgroup driver
    std::string resctrl;              ///< directory below /sys/fs/resctrl that goes with the container; empty: none
    std::map<std::string, std::string> annotations;
    bool complete = false;   ///< false while the creation runs, and for ever when it was killed
    std::string nonce;       ///< tells this container from every other that has or had the same id
    bool new_keyring = true; ///< its programs have a session keyring of their own
    std::string resources;   ///< OCI `resources` as updates changed them, JSON; empty: those of config.json
};

/// The directory of one container below the state root. Names in it: state.json, config.json (a copy, so that later
/// commands do not depend on the bundle), start.sock (as long as it waits for its start), lock.
class ContainerDirectory {
public:
    [[nodiscard]] const std::string& id() const { return id_; }
    [[nodiscard]] const os::Fd& fd() const { return fd_; }

    Result<StateRecord> read_state() const;
    Result<> write_state(const StateRecord& record) const;
    Result<std::string> read_config() const;
    Result<> write_config(std::string_view text) const;

private:
    friend class StateRoot;
    ContainerDirectory(std::string id, os::Fd fd) : id_{std::move(id)}, fd_{std::move(fd)} {}
    std::string id_;
    os::Fd fd_;
};

inline constexpr const char* kStartSocket = "start.sock";
inline constexpr const char* kLockFile = "lock";
/// There when the caller of `create` wants to be told that the container is ready; the container sees it.
inline constexpr const char* kNotifyDirectory = "notify";
/// What is being made or removed has a name that begins with this; no container's does.
inline constexpr std::string_view kUnfinished = ".new-";

/// The state root: one directory per container, owner-only. Any number of processes use it at once; whoever creates or
/// deletes a container holds its lock meanwhile.
class StateRoot {
public:
    /// Creates the directory (0711 for parents is the caller's business, 0700 for itself) when missing.
    /// Errors: Denied (not ours, or others may write to it)
    static Result<StateRoot> open(const std::string& path);

    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] const os::Fd& fd() const { return fd_; }

    /// Makes the directory of a new container with its record, its config and its lock taken, all at once: nobody sees
    /// a part of it. Errors: Conflict (the id is taken), Invalid (not a valid id), Unavailable (disk full)
    struct Made;
    Result<Made> make(const StateRecord& record, std::string_view config_text) const;
    /// Takes away what a `make` that was killed left under its temporary name.
    Result<> remove_unfinished(const StateRecord& record) const;
    /// Errors: NotFound, Invalid
    Result<ContainerDirectory> find(const std::string& id) const;
    Result<> remove(const std::string& id) const;
    /// Takes away what killed creations and deletions of this id left, and nobody works on.
    Result<> remove_unfinished_of(const std::string& id) const;
    /// Ids in alphabetical order.
    Result<std::vector<std::string>> list() const;

private:
    StateRoot(std::string path, os::Fd fd) : path_{std::move(path)}, fd_{std::move(fd)} {}
    std::string path_;
    os::Fd fd_;
};

struct StateRoot::Made {
    ContainerDirectory directory;
    os::FileLock lock; ///< held while the creation runs
};

/// The Conflict of an id that is taken.
Error already_there(const std::string& id);

/// Status of a container now. Does not block for long; changes nothing.
Result<Status> status_of(const ContainerDirectory& directory, const StateRecord& record);

/// The OCI state document; what hooks read on standard input and `state` prints.
/// @param owner runc's own addition, filled in by `list` alone
std::string to_state_json(const StateRecord& record, Status status, bool pretty, std::string_view owner = {});

/// Name of a user of the host, or the number when /etc/passwd does not list it.
std::string owner_name(uid_t uid);

} // namespace coppice::runtime
