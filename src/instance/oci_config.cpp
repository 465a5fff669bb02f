#include "oci_config.h"

#include "coppice/base/environment.h"
#include "coppice/instance/default_seccomp.h"

#include <nlohmann/json.hpp>

namespace coppice::instance {

namespace {

using nlohmann::json;

constexpr std::uint64_t kPeriodUs = 100'000;

/// What podman gives by default: enough for package managers and daemons, nothing that reaches beyond the instance.
const std::vector<std::string>& default_capabilities()
{
    static const std::vector<std::string> kCapabilities{
        "CAP_CHOWN",   "CAP_DAC_OVERRIDE", "CAP_FOWNER",  "CAP_FSETID", "CAP_KILL",      "CAP_NET_BIND_SERVICE",
        "CAP_SETFCAP", "CAP_SETGID",       "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT"};
    return kCapabilities;
}

json process_of(const InstanceConfig& config, const rlimit& open_files)
{
    std::vector<std::string> env{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                 "container=coppice"};
    if (config.terminal) env.emplace_back("TERM=xterm");
    for (const std::string& entry : config.env)
        set_variable(env, entry);
    json user{{"uid", 0}, {"gid", 0}};
    if (!config.user.empty()) user["username"] = config.user;
    return {{"terminal", config.terminal},
            {"user", user},
            {"args", config.command},
            {"env", env},
            {"cwd", config.workdir},
            {"rlimits",
             json::array({{{"type", "RLIMIT_NOFILE"}, {"soft", open_files.rlim_cur}, {"hard", open_files.rlim_max}}})},
            {"capabilities",
             {{"bounding", default_capabilities()},
              {"effective", default_capabilities()},
              {"permitted", default_capabilities()}}}};
}

json mounts_of(const InstanceConfig& config, const os::CgroupLayout& layout)
{
    json mounts = json::array({
        {{"destination", "/proc"}, {"type", "proc"}, {"source", "proc"}, {"options", {"nosuid", "noexec", "nodev"}}},
        {{"destination", "/dev"},
         {"type", "tmpfs"},
         {"source", "tmpfs"},
         {"options", {"nosuid", "strictatime", "mode=755", "size=65536k"}}},
        {{"destination", "/dev/pts"},
         {"type", "devpts"},
         {"source", "devpts"},
         {"options", {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}}},
        {{"destination", "/dev/shm"},
         {"type", "tmpfs"},
         {"source", "shm"},
         {"options", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}}},
        {{"destination", "/dev/mqueue"},
         {"type", "mqueue"},
         {"source", "mqueue"},
         {"options", {"nosuid", "noexec", "nodev"}}},
        {{"destination", "/sys"},
         {"type", "sysfs"},
         {"source", "sysfs"},
         {"options", {"nosuid", "noexec", "nodev", "ro"}}},
    });
    if (layout.mode() != os::CgroupMode::Legacy)
        mounts.push_back({{"destination", "/sys/fs/cgroup"},
                          {"type", "cgroup2"},
                          {"source", "cgroup"},
                          {"options", {"nosuid", "noexec", "nodev", "relatime", "ro"}}});
    for (const Volume& volume : config.volumes)
        mounts.push_back(
            {{"destination", volume.destination},
             {"type", "bind"},
             {"source", volume.source},
             // idmap: files keep their owners' numbers inside, whatever range the instance runs under
             {"options", {"rbind", "idmap", "ridmap", "nosuid", "nodev", volume.read_only ? "rro" : "rw"}}});
    return mounts;
}

bool can_limit_pids(const os::CgroupLayout& layout)
{
    os::CgroupLimits limits;
    limits.pids = 1;
    return os::plan_cgroup(layout, "/coppice", limits).has_value();
}

json resources_of(const InstanceConfig& config, const os::CgroupLayout& layout)
{
    // Devices: nothing but what the runtime allows to every container.
    json resources{{"devices", json::array({{{"allow", false}, {"access", "rwm"}}})}};
    if (config.memory_bytes)
        resources["memory"] = {{"limit", *config.memory_bytes},
                               {"swap", std::min<std::uint64_t>(*config.memory_bytes, INT64_MAX / 2) * 2}};
    if (config.millicpus) resources["cpu"] = {{"period", kPeriodUs}, {"quota", *config.millicpus * kPeriodUs / 1000}};
    if (config.pids)
        resources["pids"] = {{"limit", *config.pids}};
    else if (can_limit_pids(layout))
        resources["pids"] = {{"limit", kDefaultPids}};
    return resources;
}

json ranges_of(const os::IdMap& map)
{
    json ranges = json::array();
    for (const os::IdMapping& range : map)
        ranges.push_back({{"containerID", range.inside}, {"hostID", range.outside}, {"size", range.size}});
    return ranges;
}

} // namespace

std::string make_oci_config(const InstanceConfig& config, const os::UserMapping& mapping,
                            const os::CgroupLayout& layout, const std::string& cgroup, const rlimit& open_files)
{
    json namespaces = json::array();
    for (const char* const type : {"user", "pid", "mount", "network", "ipc", "uts", "cgroup"})
        namespaces.push_back({{"type", type}});
    const json document{
        {"ociVersion", "1.2.0"},
        {"process", process_of(config, open_files)},
        {"root", {{"path", config.root}}},
        {"hostname", (config.hostname.empty() ? config.name : config.hostname).substr(0, 64)}, // the kernel's limit
        {"mounts", mounts_of(config, layout)},
        {"annotations", {{"coppice.instance", config.name}, {"coppice.mode", to_word(config.mode)}}},
        {"linux",
         {{"namespaces", namespaces},
          {"uidMappings", ranges_of(mapping.uids)},
          {"gidMappings", ranges_of(mapping.gids)},
          {"cgroupsPath", cgroup},
          {"resources", resources_of(config, layout)},
          {"seccomp", default_seccomp(default_capabilities())},
          {"maskedPaths",
           {"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
            "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/dev/block",
            "/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/selinux"}},
          {"readonlyPaths", {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}}}}};
    return document.dump();
}

} // namespace coppice::instance
