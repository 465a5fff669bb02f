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
