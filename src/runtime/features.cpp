#include "coppice/runtime/features.h"

#include "coppice/os/capability.h"
#include "coppice/os/cgroup.h"
#include "coppice/os/namespace.h"
#include "coppice/runtime/spec.h"
#include "mount_options.h"
#include "syscall_filter.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace coppice::runtime {

namespace {

using Json = nlohmann::ordered_json;

std::vector<std::string> known_namespaces()
{
    std::vector<std::string> names;
    for (const os::NamespaceKind& kind : os::namespace_kinds())
        names.emplace_back(kind.oci_name);
    std::sort(names.begin(), names.end());
    return names;
}

std::vector<std::string> known_capabilities()
{
    std::vector<std::string> names;
    for (const std::string& name : os::all_capability_names())
        if ((os::find_capability(name) & os::supported_capabilities()) != 0) names.push_back(name);
    return names;
}

Json seccomp_features()
{
    const auto words = known_seccomp_words();
    return {{"enabled", true},
            {"actions", words.actions},
            {"operators", words.operators},
            {"archs", words.architectures},
            {"knownFlags", words.flags},
            {"supportedFlags", words.supported_flags}};
}

Json mount_of(const char* destination, const char* type, const char* source, const std::vector<std::string>& options)
{
    Json mount{{"destination", destination}, {"type", type}, {"source", source}};
    if (!options.empty()) mount["options"] = options;
    return mount;
}

Json example_mounts(bool rootless)
{
    const std::vector<std::string> plain{"nosuid", "noexec", "nodev"};
    const auto with = [&plain](std::vector<std::string> more) {
        more.insert(more.begin(), plain.begin(), plain.end());
        return more;
    };
    std::vector<std::string> pts{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"};
    if (!rootless) pts.emplace_back("gid=5"); // an ordinary user's namespace has only one group
    Json mounts{mount_of("/proc", "proc", "proc", {}),
                mount_of("/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}),
                mount_of("/dev/pts", "devpts", "devpts", pts),
                mount_of("/dev/shm", "tmpfs", "shm", with({"mode=1777", "size=65536k"})),
                mount_of("/dev/mqueue", "mqueue", "mqueue", plain)};
    // Without a network namespace of its own the container may not mount a sysfs.
    if (rootless)
        mounts.push_back(mount_of("/sys", "none", "/sys", {"rbind", "nosuid", "noexec", "nodev", "ro"}));
    else
        mounts.push_back(mount_of("/sys", "sysfs", "sysfs", with({"ro"})));
    mounts.push_back(mount_of("/sys/fs/cgroup", "cgroup", "cgroup", with({"relatime", "ro"})));
    return mounts;
}

Json example_linux(bool rootless)
{
    Json namespaces = Json::array();
    for (const char* const type : {"pid", "network", "ipc", "uts", "mount"})
        if (!rootless || type != std::string_view{"network"}) namespaces.push_back({{"type", type}});
    const auto layout = os::CgroupLayout::detect();
    if (layout && layout->mode() == os::CgroupMode::Unified) namespaces.push_back({{"type", "cgroup"}});
    Json part = Json::object();
    if (rootless) {
        namespaces.push_back({{"type", "user"}});
        part["uidMappings"] = Json::array({{{"containerID", 0}, {"hostID", ::geteuid()}, {"size", 1}}});
        part["gidMappings"] = Json::array({{{"containerID", 0}, {"hostID", ::getegid()}, {"size", 1}}});
    } else {
        part["resources"] = {{"devices", Json::array({{{"allow", false}, {"access", "rwm"}}})}};
    }
    part["namespaces"] = namespaces;
    part["maskedPaths"] = {"/proc/acpi",          "/proc/asound",     "/proc/kcore",       "/proc/keys",
                           "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
                           "/sys/firmware",       "/proc/scsi"};
    part["readonlyPaths"] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
    return part;
}

} // namespace

std::string features_json(const std::string& version)
{
    const Json document{
        {"ociVersionMin", "1.0.0"},
        {"ociVersionMax", kSpecVersion},
        {"hooks", known_hooks()},
        {"mountOptions", known_mount_options()},
        {"linux",
         {{"namespaces", known_namespaces()},
          {"capabilities", known_capabilities()},
          {"cgroup", {{"v1", true}, {"v2", true}, {"systemd", true}, {"systemdUser", true}, {"rdma", true}}},
          {"seccomp", seccomp_features()},
          {"apparmor", {{"enabled", true}}},
          {"selinux", {{"enabled", true}}},
          {"intelRdt", {{"enabled", true}}},
          {"mountExtensions", {{"idmap", {{"enabled", true}}}}}}},
        {"annotations", {{"io.github.seccomp.libseccomp.version", libseccomp_version()}, {"coppice.version", version}}},
        {"potentiallyUnsafeConfigAnnotations", Json::array()}};
    return document.dump(4);
}

std::string example_config(bool rootless)
{
    const std::vector<std::string> capabilities{"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"};
    const Json document{
        {"ociVersion", kSpecVersion},
        {"process",
         {{"terminal", true},
          {"user", {{"uid", 0}, {"gid", 0}}},
          {"args", {"sh"}},
          {"env", {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"}},
          {"cwd", "/"},
          {"capabilities", {{"bounding", capabilities}, {"effective", capabilities}, {"permitted", capabilities}}},
          {"rlimits", Json::array({{{"type", "RLIMIT_NOFILE"}, {"hard", 1024}, {"soft", 1024}}})},
          {"noNewPrivileges", true}}},
        {"root", {{"path", "rootfs"}, {"readonly", true}}},
        {"hostname", "coppice"},
        {"mounts", example_mounts(rootless)},
        {"linux", example_linux(rootless)}};
    return document.dump(1, '\t') + '\n';
}

} // namespace coppice::runtime
