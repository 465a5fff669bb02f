#pragma once

#include "coppice/base/result.h"
#include "coppice/instance/policy.h"
#include "coppice/instance/schedule.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace coppice::instance {

/// A directory or file of the host inside the instance.
struct Volume {
    std::string source;      ///< absolute host path
    std::string destination; ///< absolute path inside
    bool read_only = false;
    bool operator==(const Volume&) const = default;
};

/// A file system in memory.
struct Tmpfs {
    std::string destination;          ///< absolute path inside
    std::vector<std::string> options; ///< above the defaults: nosuid, nodev, noexec
    bool operator==(const Tmpfs&) const = default;
};

/// A device node of the host inside the instance.
struct Device {
    std::string source;      ///< absolute host path
    std::string destination; ///< absolute path inside
    std::string access;      ///< of "rwm", as the devices cgroup takes it
    bool operator==(const Device&) const = default;
};

/// A limit of each single process. Source: getrlimit(2)
struct Ulimit {
    std::string name; ///< "RLIMIT_NOFILE"
    std::uint64_t soft = 0, hard = 0;
    bool operator==(const Ulimit&) const = default;
};

/// Processes an instance may have when nothing else is said; podman's default.
inline constexpr std::int64_t kDefaultPids = 2048;

inline constexpr std::int64_t kMaxWeight = 10'000;
inline constexpr std::int64_t kLeastMemoryBytes = 4 << 20; ///< below this not even a shell starts
inline constexpr std::int64_t kLeastMillicpus = 10;
/// Longest patience of `coppice stop`, in seconds.
inline constexpr std::int64_t kMaxStopTimeout = 86'400;
inline constexpr const char* kUnconfined = "unconfined";

/// Of a log: the size of each of its files, and how many there are with the one that is written.
inline constexpr std::int64_t kDefaultLogBytes = 10 << 20, kLeastLogBytes = 64 << 10, kMostLogBytes = INT64_C(1) << 40;
inline constexpr std::int64_t kDefaultLogFiles = 3, kMostLogFiles = 100;

/// Everything that defines an instance; what `coppice run` was asked for. Kept as instance.json.
struct InstanceConfig {
    std::string name;
    std::string root; ///< absolute path of the directory or EROFS image; or with `snapshot` the reference asked for
    /// 32 hexadecimal digits: the instance writes into the branch of its own name, which began on this snapshot, and
    /// the daemon mounts it. Empty: `root` is a path, and the layer is in the instance's directory.
    std::string snapshot;
    Mode mode = Mode::Private;
    OnStop on_stop = OnStop::Keep; ///< in private mode
    bool remove_at_end = false;    ///< --rm: nothing of the instance is left when it stops

    std::vector<std::string> command;
    std::vector<std::string> env; ///< NAME=value, above the defaults
    std::string workdir;          ///< empty: the image's, or /
    std::string user;             ///< USER[:GROUP], looked up inside; empty: root
    std::string hostname;         ///< empty: the name
    bool keep_identity = false;   ///< the image's machine-id, host keys and the like; of the first start
    bool terminal = false;
    bool open_input = false; ///< somebody may attach and give input
    bool boot = false;       ///< a whole system, whose own init is the command; see boot.h
    bool init = false;       ///< the command runs below a small init of ours
    std::optional<std::uint64_t> memory_bytes;
    std::optional<std::int64_t> swap_bytes; ///< beyond memory_bytes; empty: the same amount again; -1: no limit
    std::optional<std::uint64_t> millicpus;
    std::optional<std::uint64_t> cpu_weight, io_weight; ///< 1 to kMaxWeight, as cgroup v2 counts; 100: as others
    std::optional<std::int64_t> pids; ///< empty: kDefaultPids where the host can limit them; -1: no limit
    std::vector<Ulimit> ulimits;
    std::vector<Volume> volumes;
    std::vector<Tmpfs> tmpfs;
    std::vector<Device> devices;
    bool read_only = false; ///< the root; /run, /tmp and /var/tmp then are in memory

    std::vector<std::string> cap_add, cap_drop; ///< "CAP_NET_ADMIN", or "ALL"
    bool no_new_privileges = false;
    std::string seccomp;  ///< empty: the default filter; "unconfined": none; else linux.seccomp of OCI as JSON
    std::string apparmor; ///< profile; empty: none

    std::map<std::string, std::string> labels;
    std::string stop_signal; ///< what `coppice stop` asks with; empty: TERM
    std::optional<std::int64_t> stop_timeout_seconds;
    RestartPolicy restart;
    std::optional<HealthCheck> health;
    std::vector<SnapshotSchedule> snapshots;                  ///< of a private instance on a vdisk
    std::optional<std::int64_t> log_max_bytes, log_max_files; ///< empty: kDefaultLogBytes, kDefaultLogFiles

    std::string created;            ///< RFC 3339, of the instance
    bool awaits_start = false;      ///< made by `create`, has never run
    std::string started;            ///< of its last start
    std::string finished;           ///< of its last run
    std::optional<int> exit_status; ///< of its last run; empty while it runs
    std::string end_note;           ///< what else is to be said of that, such as that its memory limit was reached
    int restarts = 0;               ///< by its restart policy, since somebody has started it
    bool stop_asked = false;        ///< somebody has stopped it: restart policies leave it alone
    bool undecided = false;         ///< it has stopped, and somebody is to say what becomes of its writes (OnStop::Ask)

    /// Whether a start that fails, or was cut off, leaves it as it was. Else nothing of it is left.
    [[nodiscard]] bool is_kept() const { return awaits_start || (!remove_at_end && !started.empty()); }
    bool operator==(const InstanceConfig&) const = default;
};

/// What the kernel calls the host inside.
std::string host_name_of(const InstanceConfig& config);

/// Takes away what has become of an instance: nothing of that is another one's, or a caller's to say.
void forget_runs(InstanceConfig& config);

/// Fills in what was not asked for from an OCI image configuration, as engines do: its environment below ours, its
/// entry point before the command, its command if there is none, working directory, user and stop signal. Without any
/// command it is /bin/sh. A whole system is no program of the image's: only environment, working directory and stop
/// signal are taken then. @param image the document or empty. Errors: Invalid. Source: OCI image specification,
/// config.md
Result<> apply_image_config(InstanceConfig& config, std::string_view image);

std::string to_json(const InstanceConfig& config);
Result<InstanceConfig> parse_instance_config(std::string_view text);

/// Parses docker's SOURCE:DESTINATION[:ro|rw]. A relative source starts at the working directory.
/// Errors: Invalid
Result<Volume> parse_volume(std::string_view text);

} // namespace coppice::instance
