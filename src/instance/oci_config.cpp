#include "oci_config.h"

#include "coppice/base/environment.h"
#include "coppice/instance/default_seccomp.h"
#include "coppice/instance/limits.h"
#include "coppice/os/capability.h"
#include "coppice/runtime/control.h"
#include "seccomp_profile.h"

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>

namespace coppice::instance {

namespace {

using nlohmann::json;

constexpr std::uint64_t kPeriodUs = 100'000;
constexpr std::uint64_t kUsualWeight = 100; ///< of who asks for none

/// What podman gives by default: enough for package managers and daemons, nothing that reaches beyond the instance.
const std::vector<std::string>& default_capabilities()
{
    static const std::vector<std::string> kCapabilities{
        "CAP_CHOWN",   "CAP_DAC_OVERRIDE", "CAP_FOWNER",  "CAP_FSETID", "CAP_KILL",      "CAP_NET_BIND_SERVICE",
        "CAP_SETFCAP", "CAP_SETGID",       "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT"};
    return kCapabilities;
}

/// As docker has it: what is dropped goes first, then what is added comes; ALL is all that this kernel knows.
std::vector<std::string> capabilities_of(const InstanceConfig& config)
{
    const auto contains = [](const std::vector<std::string>& list, std::string_view name) {
        return std::find(list.begin(), list.end(), name) != list.end();
    };
    if (contains(config.cap_add, "ALL")) {
        std::vector<std::string> all;
        for (const std::string& name : os::all_capability_names())
            if ((os::find_capability(name) & os::supported_capabilities()) != 0 && !contains(config.cap_drop, name))
                all.push_back(name);
        return all;
    }
    std::vector<std::string> capabilities;
    if (!contains(config.cap_drop, "ALL"))
        for (const std::string& name : default_capabilities())
            if (!contains(config.cap_drop, name)) capabilities.push_back(name);
    for (const std::string& name : config.cap_add)
        if (!contains(capabilities, name)) capabilities.push_back(name);
    return capabilities;
}

json limits_of(const InstanceConfig& config, const rlimit& open_files)
{
    json limits = json::array();
    const auto is_open_files = [](const Ulimit& limit) { return limit.name == "RLIMIT_NOFILE"; };
    if (std::none_of(config.ulimits.begin(), config.ulimits.end(), is_open_files))
        limits.push_back({{"type", "RLIMIT_NOFILE"}, {"soft", open_files.rlim_cur}, {"hard", open_files.rlim_max}});
    for (const Ulimit& limit : config.ulimits)
        limits.push_back({{"type", limit.name}, {"soft", limit.soft}, {"hard", limit.hard}});
    return limits;
}

json process_of(const InstanceConfig& config, const rlimit& open_files, const std::vector<std::string>& capabilities)
{
    std::vector<std::string> env{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                 "container=coppice"};
    if (config.terminal) env.emplace_back("TERM=xterm");
    for (const std::string& entry : config.env)
        set_variable(env, entry);
    std::vector<std::string> args = config.command;
    if (config.init) args.insert(args.begin(), kInitPlace);
    json user{{"uid", 0}, {"gid", 0}};
    if (!config.user.empty()) user["username"] = config.user;
    return {{"terminal", config.terminal},
            {"user", user},
            {"args", args},
            {"env", env},
            {"cwd", config.workdir.empty() ? "/" : config.workdir},
            {"rlimits", limits_of(config, open_files)},
            {"noNewPrivileges", config.no_new_privileges},
            {"apparmorProfile", config.apparmor},
            {"capabilities", {{"bounding", capabilities}, {"effective", capabilities}, {"permitted", capabilities}}}};
}

json tmpfs_mount(const std::string& destination, std::vector<std::string> options)
{
    return {{"destination", destination}, {"type", "tmpfs"}, {"source", "tmpfs"}, {"options", std::move(options)}};
}

/// What is to be in memory, as podman has it: on a read-only root what programs expect to be able to write to, in a
/// whole system what it expects to find empty when it starts.
void add_places_in_memory(std::vector<json>& mounts, const InstanceConfig& config)
{
    struct Place {
        const char* path;
        const char* mode;
        bool wanted;
    };
    const std::array<Place, 4> places{{{"/run", "mode=755", config.read_only || config.boot},
                                       {"/run/lock", "mode=1777", config.boot},
                                       {"/tmp", "mode=1777", config.read_only || config.boot},
                                       {"/var/tmp", "mode=1777", config.read_only}}};
    const auto is_taken = [&config](std::string_view place) {
        const auto is_there = [place](const auto& mount) { return mount.destination == place; };
        return std::any_of(config.tmpfs.begin(), config.tmpfs.end(), is_there) ||
               std::any_of(config.volumes.begin(), config.volumes.end(), is_there);
    };
    for (const auto& [path, mode, wanted] : places)
        if (wanted && !is_taken(path)) mounts.push_back(tmpfs_mount(path, {"nosuid", "nodev", mode, "tmpcopyup"}));
}

/// What was asked for, so that nothing hides another: "/data" comes before "/data/cache", whatever the order given.
std::multimap<std::ptrdiff_t, json> own_mounts_of(const InstanceConfig& config, const std::vector<DeviceNode>& devices,
                                                  const std::vector<OwnFile>& own_files)
{
    std::vector<json> mounts;
    add_places_in_memory(mounts, config);
    for (const Tmpfs& tmpfs : config.tmpfs) {
        std::vector<std::string> options{"nosuid", "nodev", "noexec"}; // of two that contradict the last one counts
        options.insert(options.end(), tmpfs.options.begin(), tmpfs.options.end());
        mounts.push_back(tmpfs_mount(tmpfs.destination, std::move(options)));
    }
    for (const DeviceNode& device : devices)
        mounts.push_back({{"destination", device.destination},
                          {"type", "bind"},
                          {"source", device.source},
                          {"options", {"bind", "nosuid", "noexec"}}});
    for (const OwnFile& file : own_files)
        mounts.push_back({{"destination", file.destination},
                          {"type", "bind"},
                          {"source", file.source},
                          {"options", {"bind", "ro", "nosuid", "nodev"}}});
    for (const Volume& volume : config.volumes)
        mounts.push_back(
            {{"destination", volume.destination},
             {"type", "bind"},
             {"source", volume.source},
             // idmap: files keep their owners' numbers inside, whatever range the instance runs under
             {"options", {"rbind", "idmap", "ridmap", "nosuid", "nodev", volume.read_only ? "rro" : "rw"}}});
    std::multimap<std::ptrdiff_t, json> by_depth; // of equal ones the first stays first
    for (json& mount : mounts) {
        const auto& path = mount["destination"].get_ref<const std::string&>();
        const auto depth = std::count(path.begin(), path.end(), '/') - (path.ends_with('/') ? 1 : 0);
        by_depth.emplace(depth, std::move(mount));
    }
    return by_depth;
}

json mounts_of(const InstanceConfig& config, const os::CgroupLayout& layout, const std::vector<DeviceNode>& devices,
               const std::vector<OwnFile>& own_files)
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
                          {"options", {"nosuid", "noexec", "nodev", "relatime", config.boot ? "rw" : "ro"}}});
    for (auto& [depth, mount] : own_mounts_of(config, devices, own_files))
        mounts.push_back(std::move(mount));
    return mounts;
}

bool can_limit_pids(const os::CgroupLayout& layout)
{
    os::CgroupLimits limits;
    limits.pids = 1;
    return os::plan_cgroup(layout, "/coppice", limits).has_value();
}

/// The two scales of CPU weights meet at what everybody has who asks for nothing: 100 on v2, 1024 on v1. On v2 the
/// runtime turns shares into a weight (os::weight_of_shares), and this is the number that it turns into `weight`.
std::uint64_t cpu_shares_of(std::uint64_t weight, const os::CgroupLayout& layout)
{
    if (!layout.v1_directory("cpu", "/").empty()) return std::max<std::uint64_t>(weight * 1024 / 100, 2);
    return 2 + ((weight - 1) * 262142 + 9998) / 9999;
}

/// OCI counts from 10 to 1000; the runtime turns that back where the kernel counts to 10,000.
std::uint64_t block_io_weight_of(std::uint64_t weight) { return 10 + ((weight - 1) * 990 + 9998) / 9999; }

json limits_of(const InstanceConfig& config, const os::CgroupLayout& layout)
{
    json resources = json::object();
    if (config.memory_bytes) {
        const std::uint64_t memory = std::min<std::uint64_t>(*config.memory_bytes, INT64_MAX / 2);
        const std::int64_t swap = config.swap_bytes.value_or(static_cast<std::int64_t>(memory));
        resources["memory"]["limit"] = *config.memory_bytes;
        if (swap < 0)
            resources["memory"]["swap"] = -1;
        else
            resources["memory"]["swap"] = memory + static_cast<std::uint64_t>(swap); // OCI counts both together
    }
    if (config.millicpus) resources["cpu"] = {{"period", kPeriodUs}, {"quota", *config.millicpus * kPeriodUs / 1000}};
    if (config.cpu_weight) resources["cpu"]["shares"] = cpu_shares_of(*config.cpu_weight, layout);
    if (config.io_weight) resources["blockIO"]["weight"] = block_io_weight_of(*config.io_weight);
    if (config.pids)
        resources["pids"] = {{"limit", *config.pids}};
    else if (can_limit_pids(layout))
        resources["pids"] = {{"limit", kDefaultPids}};
    return resources;
}

json resources_of(const InstanceConfig& config, const os::CgroupLayout& layout, const std::vector<DeviceNode>& devices)
{
    json resources = limits_of(config, layout);
    // Nothing but what the runtime allows to every container, and what was asked for.
    resources["devices"] = json::array({{{"allow", false}, {"access", "rwm"}}});
    for (const DeviceNode& device : devices)
        resources["devices"].push_back({{"allow", true},
                                        {"type", std::string(1, device.type)},
                                        {"major", device.major},
                                        {"minor", device.minor},
                                        {"access", device.access}});
    return resources;
}

/// Null when nothing is to be filtered.
json seccomp_of(const InstanceConfig& config, const std::vector<std::string>& capabilities)
{
    if (config.seccomp.empty()) return default_seccomp(capabilities, config.boot);
    if (config.seccomp == kUnconfined) return {};
    return to_oci_seccomp(json::parse(config.seccomp), capabilities);
}

json ranges_of(const os::IdMap& map)
{
    json ranges = json::array();
    for (const os::IdMapping& range : map)
        ranges.push_back({{"containerID", range.inside}, {"hostID", range.outside}, {"size", range.size}});
    return ranges;
}

} // namespace

Result<> change_limits(const InstanceStore& store, const InstanceConfig& before, const InstanceConfig& now)
{
    const auto layout = TRY(os::CgroupLayout::detect());
    json limits = limits_of(now, layout);
    if (limits == limits_of(before, layout)) return {};
    // What is not given stays as it is: limits that have gone are given as none.
    if (before.memory_bytes && !now.memory_bytes) limits["memory"] = {{"limit", -1}, {"swap", -1}};
    if (before.millicpus && !now.millicpus) limits["cpu"].update({{"period", kPeriodUs}, {"quota", -1}});
    if (before.cpu_weight && !now.cpu_weight) limits["cpu"]["shares"] = cpu_shares_of(kUsualWeight, layout);
    if (before.io_weight && !now.io_weight) limits["blockIO"]["weight"] = block_io_weight_of(kUsualWeight);
    return runtime::update(TRY(store.runtime_root()), now.name, limits.dump());
}

std::string make_oci_config(const InstanceConfig& config, const os::UserMapping& mapping,
                            const os::CgroupLayout& layout, const std::string& cgroup, const rlimit& open_files,
                            const std::vector<DeviceNode>& devices, const std::vector<OwnFile>& own_files)
{
    const auto capabilities = capabilities_of(config);
    json annotations = config.labels;
    annotations["coppice.instance"] = config.name;
    annotations["coppice.mode"] = to_word(config.mode);
    json namespaces = json::array();
    for (const char* const type : {"user", "pid", "mount", "network", "ipc", "uts", "cgroup"})
        namespaces.push_back({{"type", type}});
    const json document{
        {"ociVersion", "1.2.0"},
        {"process", process_of(config, open_files, capabilities)},
        {"root", {{"path", config.root}, {"readonly", config.read_only}}},
        {"hostname", host_name_of(config)},
        {"mounts", mounts_of(config, layout, devices, own_files)},
        {"annotations", annotations},
        {"linux",
         {{"namespaces", namespaces},
          {"uidMappings", ranges_of(mapping.uids)},
          {"gidMappings", ranges_of(mapping.gids)},
          {"cgroupsPath", cgroup},
          {"resources", resources_of(config, layout, devices)},
          {"seccomp", seccomp_of(config, capabilities)},
          {"maskedPaths",
           {"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
            "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/dev/block",
            "/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/selinux"}},
          {"readonlyPaths", {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}}}}};
    return document.dump();
}

} // namespace coppice::instance
