#pragma once

#include "coppice/os/process.h"
#include "coppice/runtime/root_source.h"
#include "coppice/runtime/spec.h"
#include "coppice/runtime/state.h"

#include <optional>
#include <string>
#include <vector>

/// The life of a container: create, start, exec, kill, delete. Every function needs a single-threaded caller (it may
/// fork) and may block on file systems and the kernel for some milliseconds.
namespace coppice::runtime {

/// How a container's or an exec'd process's standard streams are connected.
struct Console {
    std::string socket_path; ///< with a terminal: AF_UNIX socket that gets the pty's master; empty: `socket_fd`
    int socket_fd = -1;      ///< with a terminal: a SOCK_SEQPACKET or stream socket of the caller; -1: none
    // Without a terminal descriptors 0, 1 and 2 of the caller are used as they are.
};

/// Who makes a container's cgroup.
enum class CgroupDriver : unsigned char {
    Cgroupfs, ///< the runtime itself
    Systemd,  ///< systemd, as a transient scope; the container's limits are the unit's, too
    Disabled, ///< nobody: the container stays in its caller's cgroup, without limits and device rules of its own
};

struct CreateRequest {
    std::string id;
    std::string bundle;      ///< absolute
    std::string config_text; ///< config.json as read; a copy is kept
    Console console;
    std::optional<std::string> pid_file;
    unsigned preserve_fds = 0; ///< descriptors 3 to 2 + n go to the container
    CgroupDriver cgroup_driver = CgroupDriver::Cgroupfs;
    bool no_pivot = false;         ///< chroot instead of pivot_root
    bool notify_directory = false; ///< make the state's directory kNotifyDirectory
    bool new_keyring = true;       ///< give it a session keyring of its own
    bool dies_with_caller = false; ///< kill it when the calling process ends (after the start, too)
    bool start = false;            ///< start it, too: cheaper than `start` afterwards
};

/// Creates a container: everything but the user's own program is in place, and it waits for `start`, unless it is asked
/// to start at once.
///
/// Whatever fails, and also when the calling process is killed at any point, nothing is left: a guard process undoes
/// it. The returned process is the container's init, a child of the caller.
/// Errors: Conflict (id in use, cgroup in use), Invalid, Unsupported, Denied, CommandNotFound, CommandNotExecutable
Result<os::Process> create(const StateRoot& root, const Spec& spec, RootSource& root_source,
                           const CreateRequest& request);

/// Runs the user's program and waits until it has been executed. Errors: Conflict (not waiting for a start),
/// CommandNotFound, CommandNotExecutable
Result<> start(const StateRoot& root, const std::string& id);

/// Sends a signal to the container's init. Errors: Conflict (not running), NotFound
Result<> kill(const StateRoot& root, const std::string& id, int signal, bool all);

/// Removes a stopped container; with `force` kills it first and takes any leftover away. Absence is fine with `force`.
/// Runs the poststop hooks. Errors: Conflict (still running), NotFound
Result<> remove(const StateRoot& root, const std::string& id, bool force);

struct ExecRequest {
    std::string id;
    std::optional<ProcessSpec> process; ///< as it is; empty: the container's own with the changes down to the labels
    std::vector<std::string> args;      ///< command, when not in `process`
    std::vector<std::string> extra_env;
    std::optional<std::string> cwd, user; ///< user: NAME|UID[:GROUP|GID], names looked up inside
    std::optional<bool> terminal;
    bool no_new_privileges = false;
    bool ignore_paused = false; ///< in a paused container wait for its resumption
    std::vector<std::string> extra_capabilities;
    std::vector<gid_t> additional_gids{};
    std::optional<std::string> apparmor_profile{}, selinux_label{};
    /// Cgroups below the container's, which must exist: PATH for all hierarchies, or CONTROLLER[,CONTROLLER...]:PATH.
    std::vector<std::string> sub_cgroups{};
    Console console;
    std::optional<std::string> pid_file;
    unsigned preserve_fds = 0;
};

/// Runs one more program in a running container, under the same limits, filters and rights as its init.
/// The returned process is a child of the caller. Errors: as `create`, and Conflict (not running)
Result<os::Process> exec(const StateRoot& root, const ExecRequest& request);

/// Kills what is in `record`'s cgroup, removes the cgroup and the state: the one way in which creation, guard, delete
/// and repair undo a container. Safe to repeat.
Result<> discard(const StateRoot& root, const StateRecord& record);

} // namespace coppice::runtime
