#include "coppice/runtime/spec.h"

#include "coppice/test/expect.h"
#include "mounts.h"
#include "spec_documents.h"
#include "sysctl.h"

#include <nlohmann/json.hpp>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

namespace coppice::runtime {
namespace {

using nlohmann::json;
using test::fails_as;
using test::succeeds;
using test::value_of;

/// The smallest document that is accepted, with changes.
json minimal() { return json::parse(kMinimalSpec); }

/// `minimal` with the value at a JSON pointer replaced or added.
std::string with(const char* pointer, const json& value)
{
    json document = minimal();
    document[json::json_pointer{pointer}] = value;
    return document.dump();
}

std::string without(const char* parent, const char* key)
{
    json document = minimal();
    document[json::json_pointer{parent}].erase(key);
    return document.dump();
}

testing::AssertionResult refuses(ErrorKind kind, std::string_view part, const std::string& text)
{
    return fails_as(kind, part, parse_spec(text));
}

TEST(SpecTest, RuncsOwnExample)
{
    const auto spec = value_of(parse_spec(kRuncSpec));
    EXPECT_EQ(spec.version, "1.0.2-dev");
    EXPECT_EQ(spec.root_path, "rootfs");
    EXPECT_TRUE(spec.root_readonly);
    EXPECT_EQ(spec.hostname, "runc");
    ASSERT_TRUE(spec.process.has_value());
    EXPECT_TRUE(spec.process->terminal);
    EXPECT_EQ(spec.process->args, (std::vector<std::string>{"sh"}));
    EXPECT_EQ(spec.process->cwd, "/");
    EXPECT_TRUE(spec.process->no_new_privileges);
    EXPECT_EQ(spec.process->capabilities.bounding, os::find_capability("CAP_AUDIT_WRITE") |
                                                       os::find_capability("CAP_KILL") |
                                                       os::find_capability("CAP_NET_BIND_SERVICE"));
    EXPECT_EQ(spec.process->capabilities.inheritable, 0U);
    ASSERT_EQ(spec.process->rlimits.size(), 1U);
    EXPECT_EQ(spec.process->rlimits[0].resource, RLIMIT_NOFILE);
    EXPECT_EQ(spec.process->rlimits[0].hard, 1024U);
    ASSERT_EQ(spec.mounts.size(), 3U);
    EXPECT_EQ(spec.mounts[1].options, (std::vector<std::string>{"nosuid", "strictatime", "mode=755", "size=65536k"}));
    EXPECT_TRUE(spec.linux_part.has_new_namespace(CLONE_NEWPID));
    EXPECT_TRUE(spec.linux_part.has_new_namespace(CLONE_NEWNET));
    EXPECT_FALSE(spec.linux_part.has_new_namespace(CLONE_NEWUSER));
    EXPECT_EQ(spec.linux_part.device_rules,
              (std::vector<os::DeviceRule>{{.allow = false, .type = 'a', .access = "rwm"}}));
    EXPECT_EQ(spec.linux_part.masked_paths.size(), 2U);
    EXPECT_EQ(spec.linux_part.readonly_paths, (std::vector<std::string>{"/proc/bus", "/proc/sys"}));
}

TEST(SpecTest, AsPodmanWritesIt)
{
    const auto spec = value_of(parse_spec(kPodmanSpec));
    const LinuxSpec& l = spec.linux_part;
    EXPECT_EQ(spec.process->user.uid, 1000U);
    EXPECT_EQ(spec.process->user.umask, static_cast<mode_t>(022));
    EXPECT_EQ(spec.process->user.additional_gids, (std::vector<gid_t>{10, 20}));
    EXPECT_EQ(spec.process->oom_score_adj, 100);
    EXPECT_EQ(spec.process->console_size, (std::pair<unsigned short, unsigned short>{24, 80}));
    EXPECT_EQ(spec.annotations.at("io.container.manager"), "libpod");
    EXPECT_EQ(l.find_namespace(CLONE_NEWNET)->path, "/run/netns/netns-1");
    EXPECT_FALSE(l.has_new_namespace(CLONE_NEWNET));
    EXPECT_EQ(l.mapping.uids, (os::IdMap{{0, 1000, 1}, {1, 100000, 65536}}));
    EXPECT_EQ(l.cgroups_path, "/libpod_parent/libpod-abc");
    EXPECT_EQ(l.limits.memory_bytes, 67108864);
    EXPECT_EQ(l.limits.memory_swap_bytes, 134217728);
    EXPECT_EQ(l.limits.cpu_quota_us, 50000);
    EXPECT_EQ(l.limits.cpu_period_us, 100000U);
    EXPECT_EQ(l.limits.pids, 2048);
    EXPECT_EQ(l.sysctl.at("net.ipv4.ping_group_range"), "0 0");
    ASSERT_TRUE(l.seccomp.has_value());
    EXPECT_EQ(l.seccomp->default_action, "SCMP_ACT_ERRNO");
    EXPECT_EQ(l.seccomp->default_errno_ret, 38U);
    ASSERT_EQ(l.seccomp->rules.size(), 2U);
    EXPECT_EQ(l.seccomp->rules[1].args[0].value_two, 131072U);
    ASSERT_EQ(spec.hooks.poststop.size(), 1U);
    EXPECT_EQ(spec.hooks.poststop[0].timeout_seconds, 10);
    EXPECT_TRUE(succeeds(check_sysctls(l)));
    EXPECT_EQ(l.device_rules[1],
              (os::DeviceRule{.allow = true, .type = 'c', .major = 10, .minor = 229, .access = "rwm"}));
    EXPECT_EQ(spec.mounts[0].mapping->gids, (os::IdMap{{0, 5, 1}}));
}

TEST(SpecTest, ZerosThatDockerWritesMeanUnset)
{
    const auto spec = value_of(parse_spec(with("/linux/resources", json::parse(R"({
        "memory": {"limit": 0, "swap": 0, "reservation": 0, "swappiness": 0, "disableOOMKiller": false, "kernel": 5},
        "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": "", "realtimeRuntime": 0, "idle": 0},
        "pids": {"limit": 0}, "blockIO": {"weight": 0, "weightDevice": [], "leafWeight": 0},
        "hugepageLimits": [], "network": {"classID": 0, "priorities": []}, "rdma": {}, "devices": null
    })"))));
    const os::CgroupLimits& limits = spec.linux_part.limits;
    EXPECT_FALSE(limits.memory_bytes || limits.memory_swap_bytes || limits.memory_low_bytes || limits.pids);
    EXPECT_FALSE(limits.cpu_shares || limits.cpu_quota_us || limits.cpu_period_us || limits.cpuset_cpus ||
                 limits.cpuset_mems);
    EXPECT_FALSE(limits.cpu_rt_runtime_us || limits.cpu_idle || limits.io.weight || limits.io.leaf_weight ||
                 limits.net_class_id || limits.oom_killer_off);
    EXPECT_TRUE(limits.io.device_weights.empty() && limits.huge_pages.empty() && limits.rdma.empty());
    EXPECT_TRUE(succeeds(parse_spec(with("/process/apparmorProfile", ""))));
    EXPECT_TRUE(succeeds(parse_spec(with("/process/selinuxLabel", ""))));
    EXPECT_TRUE(succeeds(parse_spec(with("/process/scheduler", nullptr))));
    EXPECT_TRUE(succeeds(parse_spec(with("/linux/mountLabel", ""))));
    EXPECT_TRUE(succeeds(parse_spec(with("/linux/intelRdt", json::parse(R"({"closID": ""})")))));
    EXPECT_TRUE(succeeds(parse_spec(with("/linux/seccomp", nullptr))));
    EXPECT_TRUE(succeeds(parse_spec(with("/solaris", json::object())))) << "members that nobody specified are ignored";
}

TEST(SpecTest, NegativeLimitsMeanNone)
{
    const auto limits =
        value_of(
            parse_spec(with(
                "/linux/resources",
                json::parse(R"({"memory": {"limit": -1, "swap": -1}, "pids": {"limit": -1}, "cpu": {"quota": -1}})"))))
            .linux_part.limits;
    EXPECT_EQ(limits.memory_bytes, -1);
    EXPECT_EQ(limits.memory_swap_bytes, -1);
    EXPECT_EQ(limits.pids, -1);
    EXPECT_EQ(limits.cpu_quota_us, -1);
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "linux.resources.memory.limit", with("/linux/resources/memory/limit", -2)));
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "linux.resources.pids.limit", with("/linux/resources/pids/limit", -2)));
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "linux.resources.cpu.shares", with("/linux/resources/cpu/shares", -1)));
}

TEST(SpecTest, WhatIsAskedForAndNotDoneIsRefused)
{
    const std::pair<const char*, json> unsupported[] = {
        {"/linux/netDevices", {{"eth0", {{"name", "c"}}}}},
        {"/linux/memoryPolicy", {{"mode", "MPOL_BIND"}}},
    };
    for (const auto& [pointer, value] : unsupported) {
        std::string member{pointer};
        member = member.substr(member.find_last_of('/') + 1);
        EXPECT_TRUE(refuses(ErrorKind::Unsupported, member, with(pointer, value))) << pointer;
    }
}

TEST(SpecTest, MissingMembers)
{
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "lacks the member 'ociVersion'", without("", "ociVersion")));
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "lacks the member 'root'", without("", "root")));
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "root: lacks the member 'path'", with("/root", json::object())));
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "process: lacks the member 'cwd'", without("/process", "cwd")));
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "process: args", without("/process", "args")));
    EXPECT_TRUE(succeeds(parse_spec(without("", "linux"))));
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "mounts[0]: lacks the member 'destination'",
                        with("/mounts", {{{"type", "proc"}}})));
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "lacks the member 'type'", with("/linux/namespaces/1", json::object())));
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "hooks.prestart[0]: lacks the member 'path'",
                        with("/hooks", json::parse(R"({"prestart": [{"args": ["x"]}]})"))));
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "lacks the member 'major'",
                        with("/linux/devices", json::parse(R"([{"type": "c", "path": "/dev/x", "minor": 1}])"))));
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "lacks the member 'allow'",
                        with("/linux/resources/devices", json::parse(R"([{"access": "rwm"}])"))));
    EXPECT_TRUE(
        refuses(ErrorKind::Invalid, "lacks the member 'defaultAction'", with("/linux/seccomp", json::object())));
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "lacks the member 'hostID'",
                        with("/linux/uidMappings", json::parse(R"([{"containerID": 0, "size": 1}])"))));
    EXPECT_TRUE(succeeds(parse_spec(without("", "process")))) << "create asks for it, not the parser";
}

TEST(SpecTest, WrongTypesAndRanges)
{
    const std::pair<const char*, json> wrong[] = {
        {"/ociVersion", 1},
        {"/root", "rootfs"},
        {"/root/path", ""},
        {"/root/readonly", "true"},
        {"/process", json::array()},
        {"/process/args", json::array()},
        {"/process/args", json::array({""})},
        {"/process/args", "sh"},
        {"/process/args", json::array({"sh", 1})},
        {"/process/args", json::array({std::string{"a\0b", 3}})},
        {"/process/env", json::array({1})},
        {"/process/cwd", ""},
        {"/process/cwd", "relative"},
        {"/process/terminal", 1},
        {"/process/user/uid", -1},
        {"/process/user/uid", 4294967295},
        {"/process/user/uid", "0"},
        {"/process/user/uid", 1.5},
        {"/process/user/gid", 4294967296},
        {"/process/user/umask", 512},
        {"/process/user/umask", -1},
        {"/process/user/additionalGids", json::array({-1})},
        {"/process/oomScoreAdj", 1001},
        {"/process/oomScoreAdj", -1001},
        {"/process/consoleSize/height", 65536},
        {"/mounts", json::object()},
        {"/mounts", json::array({"x"})},
        {"/mounts", json::array({{{"destination", ""}}})},
        {"/mounts", json::array({{{"destination", "/x"}, {"options", "ro"}}})},
        {"/hostname", 1},
        {"/annotations/a", 1},
        {"/linux", json::array()},
        {"/linux/namespaces", json::object()},
        {"/linux/cgroupsPath", "../../x"},
        {"/linux/cgroupsPath", "/a/../b"},
        {"/linux/sysctl/x", 1},
        {"/linux/maskedPaths", "/proc/kcore"},
        {"/linux/resources/unified/x", 1},
        {"/linux/resources/memory/limit", "64m"},
        {"/linux/resources/memory/limit", 18446744073709551615ULL},
        {"/linux/resources/cpu/cpus", 1},
        {"/linux/timeOffsets/realtime", json::object()},
        {"/linux/timeOffsets/boottime", {{"nanosecs", 1000000000}}},
        {"/hooks/prestart", json::array({{{"path", "relative"}}})},
        {"/hooks/prestart", json::array({{{"path", "/x"}, {"timeout", 0}}})},
        {"/hooks/prestart", json::array({{{"path", "/x"}, {"timeout", -1}}})},
        {"/linux/devices", json::array({{{"type", "x"}, {"path", "/dev/x"}}})},
        {"/linux/devices", json::array({{{"type", "c"}, {"path", "dev/x"}, {"major", 1}, {"minor", 1}}})},
        {"/linux/devices", json::array({{{"type", "c"}, {"path", "/dev/x"}, {"major", -1}, {"minor", 1}}})},
        {"/linux/devices",
         json::array({{{"type", "c"}, {"path", "/dev/x"}, {"major", 1}, {"minor", 1}, {"fileMode", 0200666}}})},
        {"/linux/resources/devices", json::array({{{"allow", true}, {"access", "rx"}}})},
        {"/linux/resources/devices", json::array({{{"allow", true}, {"access", ""}}})},
        {"/linux/resources/devices", json::array({{{"allow", true}, {"type", "p"}}})},
        {"/linux/resources/devices", json::array({{{"allow", true}, {"major", -2}}})},
    };
    for (const auto& [pointer, value] : wrong)
        EXPECT_TRUE(refuses(ErrorKind::Invalid, "", with(pointer, value))) << pointer << " " << value.dump();
}

TEST(SpecTest, DeviceModeMayHoldTheFileType)
{
    for (const int mode : {0666, 020666}) { // podman gives all of st_mode
        const json device{{"type", "c"}, {"path", "/dev/x"}, {"major", 1}, {"minor", 5}, {"fileMode", mode}};
        const auto spec = value_of(parse_spec(with("/linux/devices", json::array({device}))));
        EXPECT_EQ(spec.linux_part.devices.at(0).mode, 0666U);
    }
}

TEST(SpecTest, NotADocument)
{
    for (const char* const text : {"", "null", "[]", "1", "\"x\"", "{}", "{\"ociVersion\": null}"})
        EXPECT_TRUE(refuses(ErrorKind::Invalid, "", text)) << text;
}

TEST(SpecTest, Versions)
{
    for (const char* const version : {"1.0.0", "1.2.1", "1.1.0-rc.1", "1.99"})
        EXPECT_TRUE(succeeds(parse_spec(with("/ociVersion", version)))) << version;
    for (const char* const version : {"2.0.0", "0.9", "", "10.0", "v1.0.0"})
        EXPECT_TRUE(refuses(ErrorKind::Unsupported, "ociVersion", with("/ociVersion", version))) << version;
}

TEST(SpecTest, UnknownCapabilitiesGiveNothing)
{
    const auto spec = value_of(parse_spec(with("/process/capabilities", json::parse(R"({
        "bounding": ["CAP_NO_SUCH", "CAP_KILL", "net_admin"], "effective": ["cap_chown"], "permitted": [""], "ambient": ["ALL"]
    })"))));
    const os::CapabilitySets& sets = spec.process->capabilities;
    EXPECT_EQ(sets.bounding, os::find_capability("CAP_KILL"));
    EXPECT_EQ(sets.effective | sets.permitted | sets.inheritable | sets.ambient, 0U);
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "bounding[0]", with("/process/capabilities/bounding", json::array({1}))));
}

TEST(SpecTest, Rlimits)
{
    const auto limits = [](const char* text) { return with("/process/rlimits", json::parse(text)); };
    EXPECT_TRUE(succeeds(parse_spec(limits(
        R"([{"type": "RLIMIT_CORE", "soft": 0, "hard": 18446744073709551615}, {"type": "RLIMIT_CPU", "soft": 1, "hard": 1}])"))));
    EXPECT_TRUE(refuses(
        ErrorKind::Invalid, "twice",
        limits(R"([{"type": "RLIMIT_CORE", "soft": 0, "hard": 1}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 2}])")));
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "soft is above hard",
                        limits(R"([{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}])")));
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "unknown resource 'NOFILE'",
                        limits(R"([{"type": "NOFILE", "soft": 1, "hard": 1}])")));
    EXPECT_TRUE(
        refuses(ErrorKind::Invalid, "rlimits[0].soft", limits(R"([{"type": "RLIMIT_CORE", "soft": -1, "hard": 1}])")));
    EXPECT_TRUE(
        refuses(ErrorKind::Invalid, "lacks the member 'hard'", limits(R"([{"type": "RLIMIT_CORE", "soft": 1}])")));
}

TEST(SpecTest, Namespaces)
{
    const auto namespaces = [](const char* text) { return with("/linux/namespaces", json::parse(text)); };
    EXPECT_TRUE(
        refuses(ErrorKind::Invalid, "twice", namespaces(R"([{"type": "mount"}, {"type": "pid"}, {"type": "pid"}])")));
    EXPECT_TRUE(
        refuses(ErrorKind::Invalid, "twice",
                namespaces(R"([{"type": "mount"}, {"type": "pid"}, {"type": "pid", "path": "/proc/1/ns/pid"}])")));
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "unknown namespace type 'net'",
                        namespaces(R"([{"type": "mount"}, {"type": "net"}])")));
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "absolute",
                        namespaces(R"([{"type": "mount"}, {"type": "ipc", "path": "proc/1/ns/ipc"}])")));
    EXPECT_TRUE(succeeds(parse_spec(namespaces(R"([{"type": "pid"}])"))));
    EXPECT_TRUE(succeeds(parse_spec(namespaces(R"([{"type": "mount", "path": "/proc/1/ns/mnt"}])"))));
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "needs a new mount namespace",
                        namespaces(R"([{"type": "user", "path": "/proc/1/ns/user"}])")));
}

TEST(SpecTest, Scheduling)
{
    const auto spec =
        value_of(parse_spec(with("/process/scheduler", json::parse(R"({"policy": "SCHED_FIFO", "priority": 5,
                                                   "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_KEEP_POLICY"]})"))));
    ASSERT_TRUE(spec.process && spec.process->scheduler);
    EXPECT_EQ(spec.process->scheduler->policy, 1U);
    EXPECT_EQ(spec.process->scheduler->priority, 5U);
    EXPECT_EQ(spec.process->scheduler->flags, 9U);
    const auto affinity = [](const char* cpus) { return with("/process/execCPUAffinity", {{"final", cpus}}); };
    EXPECT_EQ(value_of(parse_spec(affinity("0-2,64"))).process->exec_affinity_final, (CpuMask{7, 1}));
    for (const char* const bad : {"a", "3-1", "-1", "1-", "99999999999", "0,,1"})
        EXPECT_TRUE(refuses(ErrorKind::Invalid, "execCPUAffinity", affinity(bad))) << bad;
    const auto io = value_of(
        parse_spec(with("/process/ioPriority", json::parse(R"({"class": "IOPRIO_CLASS_RT", "priority": 3})"))));
    EXPECT_EQ(io.process->io_priority, (1 << 13) + 3);
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "closID", with("/linux/intelRdt", {{"closID", ".."}})));
    EXPECT_TRUE(refuses(ErrorKind::Unsupported, "flags",
                        with("/linux/personality", json::parse(R"({"domain": "LINUX", "flags": ["X"]})"))));
}

TEST(SpecTest, ANewUserNamespaceNeedsAMapping)
{
    json document = minimal();
    document["linux"]["namespaces"].push_back({{"type", "user"}});
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "needs uidMappings and gidMappings", document.dump()));
    const json range = json::parse(R"([{"containerID": 0, "hostID": 1000, "size": 10}])");
    document["linux"]["uidMappings"] = range;
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "needs uidMappings and gidMappings", document.dump()));
    document["linux"]["gidMappings"] = range;
    EXPECT_TRUE(succeeds(parse_spec(document.dump())));
    document["linux"]["namespaces"].back()["path"] = "/proc/1/ns/user";
    document["linux"].erase("uidMappings");
    document["linux"].erase("gidMappings");
    EXPECT_TRUE(succeeds(parse_spec(document.dump()))) << "it has a mapping already";
}

TEST(SpecTest, IdMappingsAreChecked)
{
    const auto map = [](const char* text) { return with("/linux/uidMappings", json::parse(text)); };
    EXPECT_TRUE(refuses(
        ErrorKind::Invalid, "linux.uidMappings: the ranges of an id mapping overlap",
        map(R"([{"containerID": 0, "hostID": 0, "size": 10}, {"containerID": 5, "hostID": 100, "size": 10}])")));
    EXPECT_TRUE(
        refuses(ErrorKind::Invalid, "linux.uidMappings", map(R"([{"containerID": 0, "hostID": 0, "size": 0}])")));
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "size", map(R"([{"containerID": 0, "hostID": 0, "size": -1}])")));
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "linux.uidMappings",
                        map(R"([{"containerID": 1, "hostID": 4294967294, "size": 2}])")));
    json many = json::array();
    for (int i = 0; i < 2000; ++i) // CVE-2021-43784: more bytes than a 16-bit length counts
        many.push_back({{"containerID", i}, {"hostID", i}, {"size", 1}});
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "340", with("/linux/uidMappings", many)));
    EXPECT_TRUE(refuses(
        ErrorKind::Invalid, "together",
        with("/mounts",
             json::parse(R"([{"destination": "/x", "uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}]}])"))));
}

TEST(SpecTest, HostnameNeedsAUtsNamespace)
{
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "hostname", with("/hostname", "box")));
    json document = minimal();
    document["hostname"] = "box";
    document["linux"]["namespaces"].push_back({{"type", "uts"}});
    EXPECT_TRUE(succeeds(parse_spec(document.dump())));
}

TEST(SpecTest, DomainnameNeedsAUtsNamespace)
{
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "domainname", with("/domainname", "example.org")));
}

TEST(SpecTest, SeccompArguments)
{
    const auto rule = [](const char* text) {
        return with("/linux/seccomp",
                    {{"defaultAction", "SCMP_ACT_ALLOW"}, {"syscalls", json::array({json::parse(text)})}});
    };
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "index",
                        rule(R"({"names": ["x"], "action": "a", "args": [{"index": 6, "value": 1, "op": "o"}]})")));
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "value",
                        rule(R"({"names": ["x"], "action": "a", "args": [{"index": 1, "value": -1, "op": "o"}]})")));
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "errnoRet", rule(R"({"names": ["x"], "action": "a", "errnoRet": 4096})")));
    EXPECT_TRUE(refuses(ErrorKind::Invalid, "lacks the member 'names'", rule(R"({"action": "a"})")));
}

TEST(ProcessSpecTest, ParsedAlone)
{
    const auto process = value_of(parse_process(
        R"({"args": ["id", "-u"], "cwd": "/tmp", "env": ["A=b"], "user": {"uid": 5, "gid": 6, "username": "www-data"}, "capabilities": null})"));
    EXPECT_EQ(process.args, (std::vector<std::string>{"id", "-u"}));
    EXPECT_EQ(process.user.uid, 5U);
    EXPECT_EQ(process.user.gid, 6U);
    EXPECT_EQ(process.user.lookup, "www-data");
    EXPECT_EQ(process.capabilities.bounding, 0U) << "no capabilities member means none";
    EXPECT_FALSE(process.terminal);
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "process: args must name a command", parse_process(R"({"cwd": "/"})")));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "process.user.uid",
                         parse_process(R"({"args": ["x"], "cwd": "/", "user": {"uid": -1}})")));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "process: must be an object", parse_process("[]")));
}

LinuxSpec with_sysctl(const char* name, const std::vector<std::uint64_t>& flags, const char* path = "")
{
    LinuxSpec spec;
    spec.sysctl[name] = "1";
    for (const std::uint64_t flag : flags)
        spec.namespaces.push_back({.flag = flag, .path = path});
    return spec;
}

TEST(SysctlTest, ThoseOfOwnNamespacesAreAllowed)
{
    for (const char* const name : {"net.ipv4.ip_forward", "net/ipv4/conf/eth0.1/forwarding", "net.core.somaxconn"})
        EXPECT_TRUE(succeeds(check_sysctls(with_sysctl(name, {CLONE_NEWNET})))) << name;
    for (const char* const name :
         {"kernel.msgmax", "kernel.sem", "kernel.shm_rmid_forced", "fs.mqueue.queues_max", "kernel/shmall"})
        EXPECT_TRUE(succeeds(check_sysctls(with_sysctl(name, {CLONE_NEWIPC})))) << name;
    EXPECT_TRUE(succeeds(check_sysctls(with_sysctl("kernel.domainname", {CLONE_NEWUTS}))));
}

TEST(SysctlTest, ThoseOfTheHostAreRefused)
{
    const std::vector<std::uint64_t> all{CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS,
                                         CLONE_NEWPID, CLONE_NEWNS,  CLONE_NEWUSER};
    for (const char* const name :
         {"kernel.core_pattern", "kernel/core_pattern", "vm.swappiness", "kernel.hostname", "kernel.modprobe",
          "fs.file-max", "kernel.sysrq", "kernel.msgmaxx", "fs.mqueuex", "netx.y", "net", "x"})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, name, check_sysctls(with_sysctl(name, all)))) << name;
}

TEST(SysctlTest, WithoutTheNamespaceTheyAreTheHosts)
{
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "change the host",
                         check_sysctls(with_sysctl("net.ipv4.ip_forward", {CLONE_NEWIPC}))));
    EXPECT_TRUE(
        fails_as(ErrorKind::Invalid, "change the host", check_sysctls(with_sysctl("kernel.shmmax", {CLONE_NEWNET}))));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "change the host",
                         check_sysctls(with_sysctl("fs.mqueue.msg_max", {CLONE_NEWNET}))));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "change the host", check_sysctls(with_sysctl("kernel.domainname", {}))));
}

TEST(SysctlTest, NamesThatArePaths)
{
    for (const char* const name : {"../x", "net/../kernel/core_pattern", "/net/x", ".net", "", "net..x"})
        EXPECT_TRUE(refuses(ErrorKind::Invalid, "sysctl", with("/linux/sysctl", {{name, "1"}}))) << name;
}

TEST(PropagationTest, Words)
{
    EXPECT_EQ(value_of(parse_propagation("")).first, 0U) << "private, as it was made";
    EXPECT_EQ(value_of(parse_propagation("rslave")), (std::pair<std::uint64_t, bool>{MS_SLAVE, true}));
    EXPECT_EQ(value_of(parse_propagation("shared")), (std::pair<std::uint64_t, bool>{MS_SHARED, false}));
    for (const char* const word : {"rrslave", "Slave", "slave ", "ro"})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, word, parse_propagation(word))) << word;
}

TEST(MountPlanTest, WhatCannotBeDoneIsRefusedBeforeAnythingIsMade)
{
    const auto plan = [](const json& mount) {
        const auto spec = value_of(parse_spec(with("/mounts", json::array({mount}))));
        const auto planned = plan_mounts(spec);
        return planned ? Result<std::size_t>{planned->size()} : Result<std::size_t>{std::unexpect, planned.error()};
    };
    EXPECT_EQ(value_of(plan({{"destination", "/p"}, {"type", "proc"}, {"source", "proc"}})), 1U);
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "/t: tmpcopyup",
                         plan({{"destination", "/t"}, {"type", "mqueue"}, {"options", {"tmpcopyup"}}})));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "/t: idmap needs",
                         plan({{"destination", "/t"}, {"type", "bind"}, {"source", "/"}, {"options", {"idmap"}}})));
}

} // namespace
} // namespace coppice::runtime
