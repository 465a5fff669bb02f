#pragma once

#include "coppice/os/cgroup_limits.h"
#include "coppice/os/device_filter.h"
#include "coppice/os/fd.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace coppice::os {

enum class CgroupMode : unsigned char {
    Unified, ///< v2 alone
    Hybrid,  ///< controllers on v1, an empty v2 hierarchy beside them
    Legacy,  ///< v1 alone
};

struct CgroupPaths;

/// Where the cgroup hierarchies of this host are.
class CgroupLayout {
public:
    /// Reads /proc/self/mountinfo and /proc/self/cgroup. Errors: Unsupported (no cgroup hierarchy mounted)
    static Result<CgroupLayout> detect();
    /// The parsing alone, for tests and fuzzing.
    static Result<CgroupLayout> parse(std::string_view mountinfo, std::string_view own_cgroups);

    [[nodiscard]] CgroupMode mode() const;
    /// Directory of `path` in the v2 hierarchy, or in the v1 hierarchy of `controller`; empty when there is none.
    /// An absolute path starts at the hierarchy's root. A relative one starts at the caller's own cgroup; on v2 at
    /// that cgroup's parent, because a v2 cgroup with processes of its own cannot have children with controllers.
    [[nodiscard]] std::string v2_directory(const std::string& path) const;
    [[nodiscard]] std::string v1_directory(const std::string& controller, const std::string& path) const;
    [[nodiscard]] const std::string& v2_mount() const { return v2_mount_; }
    /// The path of a cgroup from the roots of the hierarchies, on v1 alone of the first of its directories.
    [[nodiscard]] std::string path_of(const CgroupPaths& paths) const;

    /// One mounted v1 hierarchy.
    struct Hierarchy {
        std::string name;                 ///< last part of its mount point: "cpu,cpuacct"
        std::vector<std::string> options; ///< what selects it when mounting: "cpu", "cpuacct" or "name=systemd"
    };
    [[nodiscard]] std::vector<Hierarchy> v1_hierarchies() const;

private:
    std::string v2_mount_, v2_own_;
    struct V1 {
        std::string mount, own;
    };
    std::map<std::string, V1> v1_; ///< by controller, or "name=NAME"
};

/// The directories that together are one container's cgroup: one on v2 and one in each v1 hierarchy that clients read
/// or a limit asked for. Plain data, so that any later process can act on it: it stands in the container's state.
struct CgroupPaths {
    std::string v2;                        ///< empty on a legacy host
    std::map<std::string, std::string> v1; ///< by controller; controllers that are mounted together share one
    /// An ordinary user's container may have no cgroup of its own.
    [[nodiscard]] bool empty() const { return v2.empty() && v1.empty(); }
    bool operator==(const CgroupPaths&) const = default;
};

/// Which directories a cgroup with these limits needs. Creates nothing.
///
/// With v1 the hierarchies of memory, cpu, cpuacct, pids and blkio are always among them where they are mounted:
/// clients read statistics and limits there. `devices` is on a legacy host and, with `device_list`, on a hybrid one.
/// Errors: Unsupported (a limit whose controller this host lacks)
Result<CgroupPaths> plan_cgroup(const CgroupLayout& layout, const std::string& path, const CgroupLimits& limits,
                                bool device_list = false);

/// Makes the directories (existing ones are used) and switches needed v2 controllers on above them; those that clients
/// read as well, where that is possible. The v2 directory comes back open, for a process to be born in it.
/// Errors: Denied, Unavailable
Result<Fd> make_cgroup(const CgroupPaths& paths, const CgroupLimits& limits);
/// Writes the limits of a new cgroup. Errors: name the limit, the file and the kernel's answer.
Result<> apply_limits(const CgroupPaths& paths, const CgroupLimits& limits);
/// Where a cgroup in use is to be with these changes: v1 hierarchies that only they need come in addition. Changes
/// nothing, so that the result can be remembered first. Errors: Unsupported
Result<CgroupPaths> plan_update(const CgroupPaths& paths, const CgroupLimits& changes);
/// Changes limits of a cgroup in use: all or none, or an error that names what stays changed. Its processes join the
/// hierarchies that they are not in yet.
/// @param paths of plan_update
/// @param all the limits as they are to be afterwards: some values of v2 are made of a new and an old one
Result<> update_limits(const CgroupPaths& paths, const CgroupLimits& changes, const CgroupLimits& all);
/// Restricts devices: by filter on v2 and hybrid, and by list where `devices` is among the v1 directories.
Result<> apply_device_rules(const CgroupPaths& paths, const Fd& v2, const std::vector<DeviceRule>& rules);
/// Makes `owner` the one who may make cgroups below the v2 directory and move its processes among them. Its limits, and
/// what is above it, stay out of reach. Source: the kernel's Documentation/admin-guide/cgroup-v2.rst, "Delegation"
Result<> delegate_cgroup(const CgroupPaths& paths, uid_t owner);
/// Opens the files by which a process joins the v1 directories (into v2 it is born). The right to join is checked here,
/// so the process may have lost it by the time it joins.
Result<std::vector<Fd>> open_join_files(const CgroupPaths& paths);
/// Moves the calling process, which must have one thread only. Writing "0" to `tasks` as the thread itself takes the
/// kernel some microseconds; every other way (another process, or cgroup.procs) waits for an RCU grace period, 10 ms
/// and more on a quiet machine.
Result<> join_by(const std::vector<Fd>& join_files);

/// Stops every process in it, or lets them go on. Waits until all stand still (at most 10 s; then they are let go
/// again). Errors: Unsupported (no freezer), Unavailable (something cannot be stopped), Conflict (it has none any more)
Result<> freeze_cgroup(const CgroupPaths& paths);
Result<> thaw_cgroup(const CgroupPaths& paths);
/// True from the beginning of a freeze until the thaw. Absence of the cgroup or of a freezer is false.
Result<bool> is_frozen(const CgroupPaths& paths);

/// Pids in the cgroup and below.
Result<std::vector<pid_t>> processes_in(const CgroupPaths& paths);
/// The path of a process's cgroup from the root of the v2 hierarchy. Errors: NotFound (no process, or no v2 hierarchy)
Result<std::string> v2_path_of(pid_t pid);
/// Sends a signal to every process that is in it now, and to no other.
Result<> signal_processes(const CgroupPaths& paths, int signal);
/// Kills every process in it, also ones that fork meanwhile, frozen ones too. Absence is fine. Blocks until none is
/// left (at most 10 s).
Result<> kill_cgroup(const CgroupPaths& paths);
/// Removes the directories and what was made below them. Absence is fine. Errors: Conflict (still in use)
Result<> remove_cgroup(const CgroupPaths& paths);
/// How often the kernel killed something in it for want of memory; empty without a memory controller.
std::optional<std::uint64_t> oom_kills(const CgroupPaths& paths);

} // namespace coppice::os
