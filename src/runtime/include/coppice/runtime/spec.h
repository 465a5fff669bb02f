#pragma once

#include "coppice/base/result.h"
#include "coppice/os/capability.h"
#include "coppice/os/cgroup.h"
#include "coppice/os/id_map.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

/// The part of the OCI runtime specification (config.md, config-linux.md, 1.0.0 to 1.2.1) that Coppice acts on, as
/// plain data. Field names follow the specification; its own text says what each means.
namespace coppice::runtime {

struct Rlimit {
    int resource = 0; ///< RLIMIT_*
    std::string name; ///< "RLIMIT_NOFILE", for messages
    std::uint64_t soft = 0, hard = 0;
};

struct User {
    uid_t uid = 0;
    gid_t gid = 0;
    std::vector<gid_t> additional_gids;
    std::optional<mode_t> umask;
    /// USER[:GROUP], names or numbers, looked up in the container's own /etc; overrides uid and gid. Read from
    /// `user.username`, which the specification leaves to other platforms.
    std::string lookup;
};

/// Numbers as sched_setattr(2) takes them.
struct Scheduler {
    std::uint32_t policy = 0; ///< SCHED_*
    std::uint64_t flags = 0;  ///< SCHED_FLAG_*
    std::int32_t nice = 0;
    std::uint32_t priority = 0;
    std::uint64_t runtime = 0, deadline = 0, period = 0; ///< nanoseconds
};

/// A set of CPUs as sched_setaffinity(2) takes it; empty: nothing asked for.
using CpuMask = std::vector<unsigned long>;

struct ProcessSpec {
    bool terminal = false;
    std::optional<std::pair<unsigned short, unsigned short>> console_size; ///< height, width in characters
    std::vector<std::string> args;
    std::vector<std::string> env; ///< NAME=value
    std::string cwd;
    User user;
    os::CapabilitySets capabilities; ///< as wanted; names that this kernel lacks were dropped
    std::vector<Rlimit> rlimits;
    bool no_new_privileges = false;
    std::optional<int> oom_score_adj; ///< -1000 to 1000
    std::optional<Scheduler> scheduler;
    std::optional<int> io_priority;                     ///< class and level in one number, as ioprio_set(2) takes it
    CpuMask exec_affinity_initial, exec_affinity_final; ///< of `exec` only: before and in the container's cgroup
    std::string apparmor_profile, selinux_label;        ///< empty: none
};

struct MountSpec {
    std::string destination, type, source;
    std::vector<std::string> options;
    std::optional<os::UserMapping> mapping; ///< id-mapped mount
};

struct NamespaceSpec {
    std::uint64_t flag = 0;
    std::string path; ///< empty: a new one
};

struct DeviceSpec {
    char type = 'c'; ///< 'c', 'b' or 'p' (FIFO)
    std::string path;
    std::uint32_t major = 0, minor = 0;
    mode_t mode = 0666;
    uid_t uid = 0;
    gid_t gid = 0;
};

struct Hook {
    std::string path;
    std::vector<std::string> args, env;
    std::optional<int> timeout_seconds;
};

struct Hooks {
    std::vector<Hook> prestart, create_runtime, create_container, start_container, poststart, poststop;
};

struct SeccompArg {
    unsigned index = 0;
    std::uint64_t value = 0, value_two = 0;
    std::string op; ///< SCMP_CMP_*
};

struct SeccompRule {
    std::vector<std::string> names;
    std::string action; ///< SCMP_ACT_*
    std::optional<unsigned> errno_ret;
    std::vector<SeccompArg> args;
};

struct SeccompSpec {
    std::string default_action;
    std::optional<unsigned> default_errno_ret;
    std::vector<std::string> architectures; ///< SCMP_ARCH_*
    std::vector<std::string> flags;         ///< SECCOMP_FILTER_FLAG_*
    std::vector<SeccompRule> rules;
    std::string listener_path, listener_metadata; ///< who is asked where a rule says SCMP_ACT_NOTIFY
};

/// A class of service of resctrl. Source: config-linux.md "IntelRdt"
struct IntelRdt {
    std::string group;                 ///< empty: one named after the container, which goes with it
    std::vector<std::string> schemata; ///< lines for the group's own schemata; none: the group exists already
    bool monitoring = false;
};

struct TimeOffset {
    std::int64_t seconds = 0;
    std::uint32_t nanoseconds = 0;
};

struct LinuxSpec {
    std::vector<NamespaceSpec> namespaces;
    os::UserMapping mapping;
    std::map<std::string, TimeOffset> time_offsets; ///< "monotonic", "boottime"
    std::vector<DeviceSpec> devices;
    std::string cgroups_path;
    os::CgroupLimits limits;
    std::vector<os::DeviceRule> device_rules;
    std::map<std::string, std::string> sysctl;
    std::optional<SeccompSpec> seccomp;
    std::string rootfs_propagation;
    std::vector<std::string> masked_paths, readonly_paths;
    std::string mount_label;                  ///< SELinux context of file systems that are made; empty: none
    std::optional<unsigned long> personality; ///< as personality(2) takes it
    std::optional<IntelRdt> intel_rdt;

    [[nodiscard]] const NamespaceSpec* find_namespace(std::uint64_t flag) const;
    [[nodiscard]] bool has_new_namespace(std::uint64_t flag) const;
    /// Whether the container is in another user namespace than its creator, a new one or one that exists.
    [[nodiscard]] bool has_user_namespace() const;
    /// Without, nothing can be attached anywhere: the container's files are a tree of mounts that no namespace holds.
    [[nodiscard]] bool has_own_mounts() const;
};

struct Spec {
    std::string version; ///< ociVersion
    std::string root_path;
    bool root_readonly = false;
    std::optional<ProcessSpec> process;
    std::string hostname, domainname;
    std::vector<MountSpec> mounts;
    Hooks hooks;
    std::map<std::string, std::string> annotations;
    LinuxSpec linux_part;
};

/// The number of "RLIMIT_NOFILE" and the like; empty when there is no such limit.
std::optional<int> find_rlimit(std::string_view name);

/// The points of a container's life at which hooks run, by their names in the specification.
std::vector<std::string> known_hooks();

/// Parses and validates a config.json.
///
/// Members that the specification does not name are ignored, as it demands. A member that asks for something that
/// Coppice does not do is refused: nothing is silently left out. Zero where the Go clients mean "unset" is unset.
/// Errors: Invalid or Unsupported, naming the member.
Result<Spec> parse_spec(std::string_view text);
/// The `process` object alone, as `exec --process` gets it.
Result<ProcessSpec> parse_process(std::string_view text);

/// Largest config.json that is read, in bytes.
inline constexpr std::size_t kConfigMaxBytes = 16U << 20;

} // namespace coppice::runtime
