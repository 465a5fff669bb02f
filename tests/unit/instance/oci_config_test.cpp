#include "oci_config.h"

#include "coppice/runtime/spec.h"
#include "coppice/test/expect.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sched.h>

namespace coppice::instance {
namespace {

using test::succeeds;
using test::value_of;

const os::UserMapping kMapping{.uids = {{0, 0x40000000, 65536}}, .gids = {{0, 0x40000000, 65536}}};

const rlimit kOpenFiles{.rlim_cur = 1000, .rlim_max = 2000};
constexpr const char* kCgroup = "/coppice/0123/web";

os::CgroupLayout hybrid(bool with_pids = true)
{
    return value_of(os::CgroupLayout::parse(
        std::string{"1 2 0:1 / /u rw - cgroup2 none rw\n1 2 0:2 / /m rw - cgroup none rw,memory\n"
                    "1 2 0:3 / /c rw - cgroup none rw,cpu\n"} +
            (with_pids ? "1 2 0:4 / /p rw - cgroup none rw,pids\n" : ""),
        "0::/\n"));
}

InstanceConfig plain()
{
    InstanceConfig config;
    config.name = "web";
    config.root = "/images/debian";
    config.command = {"sh", "-c", "true"};
    return config;
}

/// As the runtime understands it.
runtime::Spec spec_of(const InstanceConfig& config, const os::CgroupLayout& layout = hybrid())
{
    return value_of(runtime::parse_spec(make_oci_config(config, kMapping, layout, kCgroup, kOpenFiles)));
}

TEST(OciConfigTest, NamespacesOfItsOwnOfEveryKind)
{
    const auto spec = spec_of(plain());
    for (const std::uint64_t flag :
         {CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNS, CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP})
        EXPECT_TRUE(spec.linux_part.has_new_namespace(flag)) << std::hex << flag;
    EXPECT_EQ(spec.linux_part.mapping, kMapping);
}

TEST(OciConfigTest, CapabilitiesArePodmansDefault)
{
    const auto sets = spec_of(plain()).process->capabilities;
    os::CapabilityMask expected = 0; // containers.conf(5), default_capabilities
    for (const char* const name :
         {"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE",
          "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT"})
        expected |= os::find_capability(name);
    EXPECT_EQ(sets.bounding, expected);
    EXPECT_EQ(sets.effective, expected);
    EXPECT_EQ(sets.permitted, expected);
    EXPECT_EQ(sets.inheritable, 0U); // CVE-2022-29162
    EXPECT_EQ(sets.ambient, 0U);
}

os::CapabilityMask capabilities(std::vector<std::string> add, std::vector<std::string> drop)
{
    InstanceConfig config = plain();
    config.cap_add = std::move(add);
    config.cap_drop = std::move(drop);
    const auto sets = spec_of(config).process->capabilities;
    EXPECT_EQ(sets.bounding, sets.effective);
    EXPECT_EQ(sets.bounding, sets.permitted);
    EXPECT_EQ(sets.inheritable | sets.ambient, 0U);
    return sets.bounding;
}

TEST(OciConfigTest, CapabilitiesAreDroppedAndThenAdded)
{
    const auto usual = capabilities({}, {});
    const auto kill = os::find_capability("CAP_KILL");
    const auto admin = os::find_capability("CAP_NET_ADMIN");
    EXPECT_EQ(capabilities({"CAP_NET_ADMIN"}, {}), usual | admin);
    EXPECT_EQ(capabilities({}, {"CAP_KILL"}), usual & ~kill);
    EXPECT_EQ(capabilities({"CAP_KILL"}, {"CAP_KILL"}), usual) << "as docker: added after dropping";
    EXPECT_EQ(capabilities({}, {"ALL"}), 0U);
    EXPECT_EQ(capabilities({"CAP_KILL", "CAP_KILL"}, {"ALL"}), kill);
    EXPECT_EQ(capabilities({"ALL"}, {}), os::supported_capabilities());
    EXPECT_EQ(capabilities({"ALL"}, {"CAP_KILL"}), os::supported_capabilities() & ~kill);
}

bool allows(const runtime::Spec& spec, const char* call)
{
    const auto& rules = spec.linux_part.seccomp->rules;
    return std::any_of(rules.begin(), rules.end(), [call](const runtime::SeccompRule& rule) {
        return rule.action == "SCMP_ACT_ALLOW" &&
               std::find(rule.names.begin(), rule.names.end(), call) != rule.names.end();
    });
}

TEST(OciConfigTest, TheFilterFollowsTheCapabilities)
{
    InstanceConfig config = plain();
    EXPECT_TRUE(allows(spec_of(config), "chroot"));
    EXPECT_FALSE(allows(spec_of(config), "mount"));
    config.cap_add = {"CAP_SYS_ADMIN"};
    config.cap_drop = {"CAP_SYS_CHROOT"};
    EXPECT_TRUE(allows(spec_of(config), "mount"));
    EXPECT_FALSE(allows(spec_of(config), "chroot"));
}

TEST(OciConfigTest, FiltersOfTheirOwn)
{
    InstanceConfig config = plain();
    config.seccomp = kUnconfined;
    EXPECT_FALSE(spec_of(config).linux_part.seccomp.has_value());
    config.seccomp = R"({"defaultAction": "SCMP_ACT_ERRNO", "archMap": [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}], "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW", "comment": "x", "includes": {}, "excludes": {}},
        {"name": "write", "action": "SCMP_ACT_ALLOW"},
        {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["kill"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["close"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "arm64"]}},
        {"names": ["dup"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390x"]}},
        {"names": ["open"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["amd64", "arm64"]}},
        {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
        {"names": ["fork"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "999.1"}}]})";
    const auto spec = spec_of(config);
    EXPECT_EQ(spec.linux_part.seccomp->default_action, "SCMP_ACT_ERRNO");
    EXPECT_EQ(spec.linux_part.seccomp->architectures.size(), 2U);
    for (const char* const call : {"read", "write", "kill", "close", "ptrace"})
        EXPECT_TRUE(allows(spec, call)) << call;
    for (const char* const call : {"bpf", "dup", "open", "fork"})
        EXPECT_FALSE(allows(spec, call)) << call;
    config.cap_add = {"CAP_SYS_ADMIN"};
    EXPECT_TRUE(allows(spec_of(config), "bpf"));
    EXPECT_FALSE(allows(spec_of(config), "kill"));
}

TEST(OciConfigTest, KernelFilesAreMaskedOrReadOnly)
{
    const auto l = spec_of(plain()).linux_part;
    const auto contains = [](const std::vector<std::string>& list, const char* path) {
        return std::find(list.begin(), list.end(), path) != list.end();
    };
    // What podman masks by default.
    for (const char* const path : {"/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                                   "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
                                   "/sys/fs/selinux", "/sys/dev/block", "/sys/devices/virtual/powercap"})
        EXPECT_TRUE(contains(l.masked_paths, path)) << path;
    for (const char* const path :
         {"/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"})
        EXPECT_TRUE(contains(l.masked_paths, path) || contains(l.readonly_paths, path)) << path;
}

TEST(OciConfigTest, NoDeviceIsAllowedBeyondTheRuntimesOwn)
{
    const auto rules = spec_of(plain()).linux_part.device_rules;
    ASSERT_EQ(rules.size(), 1U);
    EXPECT_EQ(rules[0], (os::DeviceRule{.allow = false, .type = 'a', .access = "rwm"}));
}

TEST(OciConfigTest, DevicesThatWereAskedForAreAllowedAndBound)
{
    const std::vector<DeviceNode> nodes{{"/nodes/0", "/dev/fuse", 'c', 10, 229, "rw"}};
    const auto spec =
        value_of(runtime::parse_spec(make_oci_config(plain(), kMapping, hybrid(), kCgroup, kOpenFiles, nodes)));
    const auto& rules = spec.linux_part.device_rules;
    ASSERT_EQ(rules.size(), 2U);
    EXPECT_FALSE(rules[0].allow) << "everything is forbidden first";
    EXPECT_EQ(rules[1], (os::DeviceRule{.allow = true, .type = 'c', .major = 10, .minor = 229, .access = "rw"}));
    EXPECT_EQ(spec.mounts.back().source, "/nodes/0");
    EXPECT_EQ(spec.mounts.back().destination, "/dev/fuse");
    EXPECT_EQ(spec.mounts.back().options, (std::vector<std::string>{"bind", "nosuid", "noexec"}));
}

TEST(OciConfigTest, ADenyingSystemCallFilter)
{
    const auto filter = spec_of(plain()).linux_part.seccomp;
    ASSERT_TRUE(filter.has_value());
    EXPECT_EQ(filter->default_action, "SCMP_ACT_ERRNO");
    EXPECT_FALSE(filter->rules.empty());
}

TEST(OciConfigTest, Limits)
{
    InstanceConfig config = plain();
    config.memory_bytes = 64U << 20;
    config.millicpus = 1500;
    config.pids = 7;
    const auto limits = spec_of(config).linux_part.limits;
    EXPECT_EQ(limits.memory_bytes, 64 << 20);
    EXPECT_EQ(limits.memory_swap_bytes, 128 << 20); // memory and swap together
    EXPECT_EQ(limits.cpu_quota_us, 150'000);
    EXPECT_EQ(limits.cpu_period_us, 100'000U);
    EXPECT_EQ(limits.pids, 7);
}

TEST(OciConfigTest, Swap)
{
    InstanceConfig config = plain();
    config.memory_bytes = 64U << 20;
    config.swap_bytes = 1 << 20;
    EXPECT_EQ(spec_of(config).linux_part.limits.memory_swap_bytes, 65 << 20);
    config.swap_bytes = 0;
    EXPECT_EQ(spec_of(config).linux_part.limits.memory_swap_bytes, 64 << 20);
    config.swap_bytes = -1;
    EXPECT_EQ(spec_of(config).linux_part.limits.memory_swap_bytes, -1);
}

os::CgroupLayout unified()
{
    return value_of(os::CgroupLayout::parse("1 2 0:1 / /u rw - cgroup2 none rw\n", "0::/\n"));
}

/// As the runtime writes it. Source: the formula of runc and crun, see os::cgroup_files
std::uint64_t v2_weight(std::uint64_t value, std::uint64_t least, std::uint64_t range)
{
    return 1 + (value - least) * 9999 / range;
}

TEST(OciConfigTest, Weights)
{
    InstanceConfig config = plain();
    EXPECT_EQ(spec_of(config).linux_part.limits.cpu_shares, std::nullopt);
    for (const std::uint64_t weight : {1, 2, 50, 99, 100, 101, 1000, 9999, 10000}) {
        config.cpu_weight = weight;
        config.io_weight = weight;
        const auto limits = spec_of(config, unified()).linux_part.limits;
        EXPECT_EQ(v2_weight(limits.cpu_shares.value_or(0), 2, 262142), weight) << "exact where the kernel counts so";
        const auto io = limits.io.weight.value_or(0);
        EXPECT_GE(io, 10U);
        EXPECT_LE(io, 1000U);
        EXPECT_LE(v2_weight(io, 10, 990) - weight, 10U) << "as exact as OCI's 991 steps allow";
    }
    config.cpu_weight = 100;
    EXPECT_EQ(spec_of(config).linux_part.limits.cpu_shares, 1024U) << "what everybody has on v1";
    config.cpu_weight = 1;
    EXPECT_EQ(spec_of(config).linux_part.limits.cpu_shares, 10U);
}

TEST(OciConfigTest, LimitsOfVeryLargeMemory)
{
    InstanceConfig config = plain();
    config.memory_bytes = INT64_MAX; // the largest that parse_bytes gives
    EXPECT_TRUE(succeeds(runtime::parse_spec(make_oci_config(config, kMapping, hybrid(), kCgroup, kOpenFiles))));
}

TEST(OciConfigTest, ProcessesAreLimitedByDefaultWhereTheHostCan)
{
    EXPECT_EQ(spec_of(plain()).linux_part.limits.pids, kDefaultPids);
    EXPECT_EQ(spec_of(plain(), hybrid(false)).linux_part.limits.pids, std::nullopt);
    InstanceConfig unlimited = plain();
    unlimited.pids = -1;
    EXPECT_EQ(spec_of(unlimited).linux_part.limits.pids, -1);
    InstanceConfig limited = plain();
    limited.pids = 5; // asked for: the runtime then says that it cannot
    EXPECT_EQ(spec_of(limited, hybrid(false)).linux_part.limits.pids, 5);
    EXPECT_EQ(spec_of(plain()).linux_part.limits.memory_bytes, std::nullopt);
}

TEST(OciConfigTest, OpenFilesAreLimited)
{
    const auto spec = spec_of(plain());
    ASSERT_EQ(spec.process->rlimits.size(), 1U);
    EXPECT_EQ(spec.process->rlimits[0].resource, RLIMIT_NOFILE);
    EXPECT_EQ(spec.process->rlimits[0].soft, kOpenFiles.rlim_cur);
    EXPECT_EQ(spec.process->rlimits[0].hard, kOpenFiles.rlim_max);
}

TEST(OciConfigTest, LimitsOfProcesses)
{
    InstanceConfig config = plain();
    config.ulimits = {{"RLIMIT_CORE", 0, UINT64_MAX}};
    EXPECT_EQ(spec_of(config).process->rlimits.size(), 2U);
    config.ulimits.push_back({"RLIMIT_NOFILE", 5, 6});
    const auto limits = spec_of(config).process->rlimits;
    ASSERT_EQ(limits.size(), 2U) << "takes the place of the default";
    EXPECT_EQ(limits[0].hard, UINT64_MAX);
    EXPECT_EQ(limits[1].resource, RLIMIT_NOFILE);
    EXPECT_EQ(limits[1].soft, 5U);
}

TEST(OciConfigTest, LabelsAreAnnotations)
{
    InstanceConfig config = plain();
    config.labels = {{"who", "me"}, {"empty", ""}};
    const auto annotations = spec_of(config).annotations;
    EXPECT_EQ(annotations.at("who"), "me");
    EXPECT_EQ(annotations.at("empty"), "");
    EXPECT_EQ(annotations.at("coppice.instance"), "web");
}

TEST(OciConfigTest, NoNewPrivilegesAndProfile)
{
    EXPECT_FALSE(spec_of(plain()).process->no_new_privileges);
    InstanceConfig config = plain();
    config.no_new_privileges = true;
    config.apparmor = "mine";
    EXPECT_TRUE(spec_of(config).process->no_new_privileges);
    EXPECT_EQ(spec_of(config).process->apparmor_profile, "mine");
}

/// "DESTINATION OPTION,OPTION" of the mounts behind those that every instance has.
std::vector<std::string> own_mounts(const InstanceConfig& config)
{
    std::vector<std::string> result;
    const auto all = spec_of(config).mounts;
    for (std::size_t i = spec_of(plain()).mounts.size(); i < all.size(); ++i) {
        std::string line = all[i].destination;
        for (const std::string& option : all[i].options)
            line += ' ' + option;
        result.push_back(line);
    }
    return result;
}

TEST(OciConfigTest, ReadOnlyRootWithWritablePlaces)
{
    EXPECT_FALSE(spec_of(plain()).root_readonly);
    InstanceConfig config = plain();
    config.read_only = true;
    EXPECT_TRUE(spec_of(config).root_readonly);
    EXPECT_EQ(own_mounts(config),
              (std::vector<std::string>{"/run nosuid nodev mode=755 tmpcopyup", "/tmp nosuid nodev mode=1777 tmpcopyup",
                                        "/var/tmp nosuid nodev mode=1777 tmpcopyup"}));
    config.tmpfs = {{"/tmp", {"size=1"}}};
    config.volumes = {{"/src", "/run", false}};
    EXPECT_EQ(own_mounts(config),
              (std::vector<std::string>{"/tmp nosuid nodev noexec size=1", "/run rbind idmap ridmap nosuid nodev rw",
                                        "/var/tmp nosuid nodev mode=1777 tmpcopyup"}));
}

TEST(OciConfigTest, NoMountHidesAnother)
{
    InstanceConfig config = plain();
    config.volumes = {{"/src", "/data/deep/er", false}, {"/src", "/data/", false}};
    config.tmpfs = {{"/data/deep", {"exec"}}};
    const auto mounts = own_mounts(config);
    ASSERT_EQ(mounts.size(), 3U);
    EXPECT_TRUE(mounts[0].starts_with("/data/ ")) << mounts[0];
    EXPECT_EQ(mounts[1], "/data/deep nosuid nodev noexec exec");
    EXPECT_TRUE(mounts[2].starts_with("/data/deep/er ")) << mounts[2];
}

TEST(OciConfigTest, Environment)
{
    InstanceConfig config = plain();
    config.env = {"A=1", "PATH=/mine", "A=2", "PATHX=3"};
    const auto env = spec_of(config).process->env;
    EXPECT_EQ(env, (std::vector<std::string>{"container=coppice", "PATH=/mine", "A=2", "PATHX=3"}));
    config.terminal = true;
    const auto with_terminal = spec_of(config).process->env;
    EXPECT_NE(std::find(with_terminal.begin(), with_terminal.end(), "TERM=xterm"), with_terminal.end());
}

TEST(OciConfigTest, ProcessAndNames)
{
    InstanceConfig config = plain();
    config.user = "web:www";
    config.workdir = "/srv";
    const auto spec = spec_of(config);
    EXPECT_EQ(spec.process->args, config.command);
    EXPECT_EQ(spec.process->cwd, "/srv");
    EXPECT_EQ(spec.process->user.lookup, "web:www");
    EXPECT_EQ(spec.hostname, "web");
    EXPECT_EQ(spec.linux_part.cgroups_path, kCgroup);
    config.hostname = "box";
    EXPECT_EQ(spec_of(config).hostname, "box");
    config.hostname.clear();
    config.name = std::string(100, 'n');
    EXPECT_EQ(spec_of(config).hostname.size(), 64U); // the kernel's limit
}

TEST(OciConfigTest, Volumes)
{
    InstanceConfig config = plain();
    config.volumes = {{"/data", "/mnt/ro", true}, {"/data", "/mnt/rw", false}};
    const auto spec = spec_of(config);
    const auto has = [](const runtime::MountSpec& mount, const char* option) {
        return std::find(mount.options.begin(), mount.options.end(), option) != mount.options.end();
    };
    ASSERT_GE(spec.mounts.size(), 2U);
    const auto& ro = spec.mounts[spec.mounts.size() - 2];
    const auto& rw = spec.mounts.back();
    EXPECT_EQ(ro.destination, "/mnt/ro");
    EXPECT_TRUE(has(ro, "rro")) << "mounts below the source are read-only too";
    EXPECT_FALSE(has(rw, "rro"));
    for (const auto& mount : {ro, rw})
        for (const char* const option : {"rbind", "nosuid", "nodev", "idmap"})
            EXPECT_TRUE(has(mount, option)) << mount.destination << " " << option;
    EXPECT_EQ(spec.mounts.front().destination, "/proc") << "volumes come last, over everything";
}

TEST(OciConfigTest, KernelFileSystemsAreHarmless)
{
    for (const auto& mount : spec_of(plain()).mounts) {
        const auto has = [&mount](const char* option) {
            return std::find(mount.options.begin(), mount.options.end(), option) != mount.options.end();
        };
        EXPECT_TRUE(has("nosuid")) << mount.destination;
        const bool shows_kernel = mount.type == "sysfs" || mount.type == "cgroup2";
        const bool holds_devices = mount.destination == "/dev" || mount.type == "devpts";
        EXPECT_TRUE(has("ro") || !shows_kernel) << mount.destination;
        EXPECT_TRUE(has("nodev") || holds_devices) << mount.destination;
    }
}

} // namespace
} // namespace coppice::instance
