#include "coppice/instance/default_seccomp.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <seccomp.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

namespace coppice::instance {
namespace {

using nlohmann::json;
using Capabilities = std::vector<std::string>;
using NameSet = std::set<std::string, std::less<>>;

constexpr auto kPodmanProfile = "/usr/share/containers/seccomp.json";
constexpr int kAllow = 0; // otherwise a verdict is an errno, or kKill
constexpr int kKill = -1;

// containers.conf(5), default_capabilities.
const Capabilities kPodmanCapabilities = {
    "CAP_CHOWN",   "CAP_DAC_OVERRIDE", "CAP_FOWNER",  "CAP_FSETID", "CAP_KILL",       "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP", "CAP_SETGID",       "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
};

const Capabilities kAllCapabilities = {
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
};

/// For tests that have libseccomp build each filter, which takes 10 ms.
std::vector<Capabilities> few_capability_sets()
{
    return {{},
            kPodmanCapabilities,
            kAllCapabilities,
            {"CAP_SYS_ADMIN"},
            {"CAP_NET_ADMIN"},
            {"CAP_NET_RAW"},
            {"CAP_AUDIT_WRITE"},
            {"CAP_DAC_READ_SEARCH"}};
}

std::vector<Capabilities> capability_sets()
{
    std::vector<Capabilities> sets = {{}, kPodmanCapabilities, kAllCapabilities};
    for (const auto& one : kAllCapabilities) {
        sets.push_back({one});
        sets.push_back({one, "CAP_SYS_ADMIN"});
    }
    return sets;
}

// ---- A filter as the kernel sees it ------------------------------------------------------------

/// Builds the filter with libseccomp, as a runtime does, and answers what the kernel would.
class Filter {
public:
    explicit Filter(const json& profile)
    {
        const std::unique_ptr<void, decltype(&seccomp_release)> context{
            seccomp_init(SCMP_ACT_ERRNO(profile.at("defaultErrnoRet").get<std::uint16_t>())), seccomp_release};
        for (const std::string name : profile.at("architectures")) {
            const auto architecture = to_architecture(name);
            if (architecture != seccomp_arch_native()) {
                check(seccomp_arch_add(context.get(), architecture), name);
            }
        }
        for (const auto& rule : profile.at("syscalls")) {
            add(context.get(), rule);
        }
        export_program(context.get());
    }

    static std::uint32_t to_architecture(std::string name)
    {
        name.erase(0, std::strlen("SCMP_ARCH_"));
        std::ranges::transform(name, name.begin(), [](char c) { return std::tolower(c); });
        return seccomp_arch_resolve_name(name.c_str());
    }

    std::size_t size() const { return program_.size(); }

    int verdict(std::string_view name, std::vector<std::uint64_t> arguments = {},
                std::uint32_t architecture = seccomp_arch_native()) const
    {
        const int number = seccomp_syscall_resolve_name_arch(architecture, std::string{name}.c_str());
        if (number < 0) {
            throw std::invalid_argument{"no number for " + std::string{name}};
        }
        return verdict(number, arguments, architecture);
    }

    int verdict(int number, const std::vector<std::uint64_t>& arguments, std::uint32_t architecture) const
    {
        seccomp_data data{};
        data.nr = number;
        data.arch = architecture;
        std::ranges::copy(arguments, data.args);
        const auto result = run(data);
        switch (result & SECCOMP_RET_ACTION_FULL) {
        case SECCOMP_RET_ALLOW: return kAllow;
        case SECCOMP_RET_ERRNO: return static_cast<int>(result & SECCOMP_RET_DATA);
        default: return kKill;
        }
    }

private:
    static void check(int result, const std::string& what)
    {
        if (result < 0) {
            throw std::runtime_error{"libseccomp, " + what + ": " + std::strerror(-result)};
        }
    }

    static void add(scmp_filter_ctx context, const json& rule)
    {
        std::vector<scmp_arg_cmp> conditions;
        for (const auto& condition : rule.value("args", json::array())) {
            EXPECT_EQ(condition.at("op"), "SCMP_CMP_MASKED_EQ");
            conditions.push_back({condition.at("index").get<unsigned>(), SCMP_CMP_MASKED_EQ,
                                  condition.at("value").get<std::uint64_t>(),
                                  condition.at("valueTwo").get<std::uint64_t>()});
        }
        const auto action = rule.at("action") == "SCMP_ACT_ALLOW"
                                ? SCMP_ACT_ALLOW
                                : SCMP_ACT_ERRNO(rule.at("errnoRet").get<std::uint16_t>());
        for (const std::string name : rule.at("names")) {
            const int number = seccomp_syscall_resolve_name(name.c_str());
            check(number == __NR_SCMP_ERROR ? -ENOENT : 0, name);
            check(seccomp_rule_add_array(context, action, number, static_cast<unsigned>(conditions.size()),
                                         conditions.data()),
                  rule.dump());
        }
    }

    void export_program(scmp_filter_ctx context)
    {
        const int fd = memfd_create("bpf", MFD_CLOEXEC);
        check(seccomp_export_bpf(context, fd), "export");
        program_.resize(static_cast<std::size_t>(lseek(fd, 0, SEEK_END)) / sizeof(sock_filter));
        const auto bytes = program_.size() * sizeof(sock_filter);
        const bool whole = pread(fd, program_.data(), bytes, 0) == static_cast<ssize_t>(bytes);
        close(fd);
        check(whole ? 0 : -EIO, "read back");
    }

    /// The part of classic BPF that libseccomp produces (linux/filter.h).
    std::uint32_t run(const seccomp_data& data) const
    {
        std::uint32_t accumulator = 0;
        for (std::size_t at = 0;; ++at) {
            const auto& [code, jump_true, jump_false, k] = program_.at(at);
            const auto branch = [&](bool taken) { at += taken ? jump_true : jump_false; };
            switch (code) {
            case BPF_LD | BPF_W | BPF_ABS:
                if (k + sizeof accumulator > sizeof data) {
                    throw std::logic_error{"load outside of seccomp_data"};
                }
                std::memcpy(&accumulator, reinterpret_cast<const char*>(&data) + k, sizeof accumulator);
                break;
            case BPF_ALU | BPF_AND | BPF_K: accumulator &= k; break;
            case BPF_JMP | BPF_JA: at += k; break;
            case BPF_JMP | BPF_JEQ | BPF_K: branch(accumulator == k); break;
            case BPF_JMP | BPF_JGT | BPF_K: branch(accumulator > k); break;
            case BPF_JMP | BPF_JGE | BPF_K: branch(accumulator >= k); break;
            case BPF_RET | BPF_K: return k;
            default: throw std::logic_error{"unexpected instruction " + std::to_string(code)};
            }
        }
    }

    std::vector<sock_filter> program_;
};

// ---- Profiles as sets of names -----------------------------------------------------------------

void insert_names(NameSet& into, const json& rule)
{
    for (const std::string name : rule.at("names")) {
        into.insert(name);
    }
}

NameSet allowed_without_conditions(const json& profile)
{
    NameSet names;
    for (const auto& rule : profile.at("syscalls")) {
        if (rule.at("action") == "SCMP_ACT_ALLOW" && !rule.contains("args")) {
            insert_names(names, rule);
        }
    }
    return names;
}

bool names_any(const json& list, const Capabilities& capabilities)
{
    return std::ranges::any_of(capabilities, [&](const auto& capability) {
        return std::find(list.begin(), list.end(), capability) != list.end();
    });
}

#if defined(__x86_64__)
const Capabilities kPodmanArchitecture = {"amd64"};
#else
const Capabilities kPodmanArchitecture = {"arm64"};
#endif

/// What podman lets through for a capability set: its rules name what they apply to.
NameSet allowed_by_podman(const json& profile, const Capabilities& capabilities)
{
    NameSet names;
    for (const auto& rule : profile.at("syscalls")) {
        const auto includes = rule.value("includes", json::object());
        const auto excludes = rule.value("excludes", json::object());
        const bool applies = (!includes.contains("caps") || names_any(includes["caps"], capabilities)) &&
                             (!includes.contains("arches") || names_any(includes["arches"], kPodmanArchitecture)) &&
                             (!excludes.contains("caps") || !names_any(excludes["caps"], capabilities));
        const bool conditional = rule.contains("args") && !rule["args"].empty();
        if (applies && !conditional && rule.at("action") == "SCMP_ACT_ALLOW") {
            insert_names(names, rule);
        }
    }
    return names;
}

/// libseccomp answers a negative number for a call of another architecture, too; those between
/// -100 and -300 stand for parts of socketcall and ipc, most of which have direct numbers as well.
bool is_known(const std::string& name)
{
    constexpr auto kArchitectures =
        std::to_array<std::uint32_t>({SCMP_ARCH_X86_64, SCMP_ARCH_X86, SCMP_ARCH_AARCH64, SCMP_ARCH_ARM});
    return std::ranges::any_of(kArchitectures, [&name](std::uint32_t architecture) {
        const auto number = seccomp_syscall_resolve_name_arch(architecture, name.c_str());
        return number >= 0 || (number <= -100 && number > -300);
    });
}

// ---- Form --------------------------------------------------------------------------------------

TEST(DefaultSeccompTest, NamesAreKnownAndStandOnce)
{
    for (const auto& capabilities : capability_sets()) {
        const auto profile = default_seccomp(capabilities);
        NameSet plain;
        NameSet conditional;
        for (const auto& rule : profile.at("syscalls")) {
            for (const std::string name : rule.at("names")) {
                EXPECT_TRUE(is_known(name)) << name;
                if (rule.contains("args")) {
                    conditional.insert(name);
                } else {
                    EXPECT_TRUE(plain.insert(name).second) << name << " stands twice";
                }
            }
        }
        for (const auto& name : conditional) {
            EXPECT_FALSE(plain.contains(name)) << name << ": libseccomp drops its conditions";
        }
    }
}

TEST(DefaultSeccompTest, NoRuleRepeatsTheDefault)
{
    for (const auto& capabilities : capability_sets()) {
        const auto profile = default_seccomp(capabilities);
        EXPECT_EQ(profile.at("defaultAction"), "SCMP_ACT_ERRNO");
        EXPECT_EQ(profile.at("defaultErrnoRet"), ENOSYS);
        for (const auto& rule : profile.at("syscalls")) {
            EXPECT_NE(rule.value("errnoRet", 0), ENOSYS) << rule.dump();
            EXPECT_FALSE(rule.at("names").empty());
        }
    }
}

TEST(DefaultSeccompTest, LibseccompTakesEveryRule)
{
    for (const auto& capabilities : few_capability_sets()) {
        const Filter filter{default_seccomp(capabilities)}; // throws on the first refused rule
        EXPECT_LT(filter.size(), static_cast<std::size_t>(BPF_MAXINSNS) / 2);
    }
}

TEST(DefaultSeccompTest, UnknownCapabilitiesChangeNothing)
{
    EXPECT_EQ(default_seccomp({"CAP_NO_SUCH", "SYS_ADMIN", ""}), default_seccomp({}));
}

// ---- Against podman ----------------------------------------------------------------------------

TEST(DefaultSeccompTest, AllowsNothingThatPodmanDoesNot)
{
    std::ifstream file{kPodmanProfile};
    if (!file) {
        GTEST_SKIP() << "podman's profile is not installed: " << kPodmanProfile;
    }
    const auto podman = json::parse(std::string{std::istreambuf_iterator<char>{file}, {}});
    for (const auto& capabilities : capability_sets()) {
        const auto theirs = allowed_by_podman(podman, capabilities);
        for (const auto& name : allowed_without_conditions(default_seccomp(capabilities))) {
            EXPECT_TRUE(theirs.contains(name)) << name << " with " << json(capabilities).dump();
        }
    }
}

TEST(DefaultSeccompTest, ConditionalCallsAreConditionalOrAllowedAtPodman)
{
    std::ifstream file{kPodmanProfile};
    if (!file) {
        GTEST_SKIP() << "podman's profile is not installed: " << kPodmanProfile;
    }
    const auto theirs =
        allowed_by_podman(json::parse(std::string{std::istreambuf_iterator<char>{file}, {}}), kPodmanCapabilities);
    NameSet conditional;
    const auto profile = default_seccomp(kPodmanCapabilities);
    for (const auto& rule : profile.at("syscalls")) {
        if (rule.contains("args")) {
            insert_names(conditional, rule);
        }
    }
    // Ours narrow what podman allows whole, but for the two that podman narrows as well; those
    // are compared by value in Personality and NetlinkProtocols.
    for (const auto name : {"personality", "socket"}) {
        EXPECT_EQ(conditional.erase(name), 1U);
    }
    for (const auto& name : conditional) {
        EXPECT_TRUE(theirs.contains(name)) << name;
    }
}

// ---- What programs need, and what they must not get --------------------------------------------

constexpr auto kEssential = std::to_array<std::string_view>({
    "accept4",
    "bind",
    "brk",
    "capget",
    "capset",
    "chdir",
    "chroot",
    "clock_gettime",
    "clock_nanosleep",
    "close",
    "close_range",
    "connect",
    "copy_file_range",
    "dup3",
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait",
    "eventfd2",
    "execve",
    "exit",
    "exit_group",
    "faccessat2",
    "fallocate",
    "fchmod",
    "fchmodat",
    "fchown",
    "fchownat",
    "fcntl",
    "fdatasync",
    "flock",
    "fstat",
    "fsync",
    "ftruncate",
    "futex",
    "getcwd",
    "getdents64",
    "getpid",
    "getrandom",
    "getsockopt",
    "getuid",
    "inotify_add_watch",
    "io_setup",
    "io_submit",
    "kill",
    "linkat",
    "listen",
    "lseek",
    "madvise",
    "membarrier",
    "memfd_create",
    "mincore",
    "mkdirat",
    "mknodat",
    "mlock",
    "mmap",
    "mprotect",
    "mremap",
    "msync",
    "munmap",
    "newfstatat",
    "openat",
    "openat2",
    "pidfd_open",
    "pipe2",
    "ppoll",
    "prctl",
    "pread64",
    "prlimit64",
    "pselect6",
    "ptrace",
    "pwrite64",
    "read",
    "readlinkat",
    "recvmsg",
    "renameat2",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "rt_sigtimedwait",
    "sched_getaffinity",
    "sched_yield",
    "seccomp",
    "semop",
    "sendfile",
    "sendmsg",
    "sendto",
    "set_robust_list",
    "set_tid_address",
    "setgid",
    "setgroups",
    "setitimer",
    "setpgid",
    "setresuid",
    "setsid",
    "setsockopt",
    "setuid",
    "setxattr",
    "shmat",
    "shmget",
    "sigaltstack",
    "splice",
    "statfs",
    "statx",
    "symlinkat",
    "sync_file_range",
    "sysinfo",
    "tgkill",
    "timer_create",
    "timerfd_create",
    "umask",
    "uname",
    "unlinkat",
    "utimensat",
    "wait4",
    "waitid",
    "write",
    "writev",
});

TEST(DefaultSeccompTest, EssentialCallsAreAllowed)
{
    const Filter filter{default_seccomp(kPodmanCapabilities)};
    for (const auto name : kEssential) {
        EXPECT_EQ(filter.verdict(name), kAllow) << name;
    }
}

constexpr auto kRefused = std::to_array<std::string_view>({
    "acct",
    "bpf",
    "clock_settime",
    "delete_module",
    "fanotify_init",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "kcmp",
    "kexec_load",
    "migrate_pages",
    "mount",
    "mount_setattr",
    "move_mount",
    "move_pages",
    "name_to_handle_at",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pivot_root",
    "process_madvise",
    "quotactl",
    "reboot",
    "setdomainname",
    "sethostname",
    "setns",
    "settimeofday",
    "swapoff",
    "swapon",
    "syslog",
    "umount2",
    "unshare",
    "userfaultfd",
    "vhangup",
    "vmsplice",
});
constexpr auto kUnknown = std::to_array<std::string_view>({
    "add_key",
    "clone3",
    "keyctl",
    "lookup_dcookie",
    "nfsservctl",
    "quotactl_fd",
    "remap_file_pages",
    "request_key",
});

TEST(DefaultSeccompTest, DangerousCallsAreRefused)
{
    const Filter filter{default_seccomp(kPodmanCapabilities)};
    for (const auto name : kRefused) {
        EXPECT_EQ(filter.verdict(name), EPERM) << name;
    }
    for (const auto name : kUnknown) {
        EXPECT_EQ(filter.verdict(name), ENOSYS) << name;
    }
    EXPECT_EQ(filter.verdict(5000, {}, seccomp_arch_native()), ENOSYS) << "a call of the future";
}

TEST(DefaultSeccompTest, AWholeSystemMayAskForHandlesAndNotOpenThem)
{
    const Filter filter{default_seccomp(kPodmanCapabilities, true)};
    EXPECT_EQ(filter.verdict("name_to_handle_at"), kAllow);
    for (const auto name : kRefused)
        if (name != "name_to_handle_at") EXPECT_EQ(filter.verdict(name), EPERM) << name;
}

TEST(DefaultSeccompTest, NoCapabilityUnlocksWhatIsForbidden)
{
    const Filter filter{default_seccomp(kAllCapabilities)};
    for (const auto name : {"io_uring_setup", "userfaultfd", "vmsplice", "kexec_load", "swapon", "move_pages"}) {
        EXPECT_EQ(filter.verdict(name), EPERM) << name;
    }
    EXPECT_EQ(filter.verdict("keyctl"), ENOSYS);
}

TEST(DefaultSeccompTest, CapabilitiesUnlockTheirCalls)
{
    const std::map<std::string, std::vector<std::string_view>> unlocked = {
        {"CAP_SYS_ADMIN", {"mount", "unshare", "setns", "clone3", "sethostname", "fanotify_init"}},
        {"CAP_DAC_READ_SEARCH", {"open_by_handle_at", "name_to_handle_at"}},
        {"CAP_SYS_BOOT", {"reboot"}},
        {"CAP_SYS_CHROOT", {"chroot"}},
        {"CAP_SYS_MODULE", {"init_module", "finit_module", "delete_module"}},
        {"CAP_SYS_PTRACE", {"kcmp", "process_madvise"}},
        {"CAP_SYS_TIME", {"clock_settime", "settimeofday"}},
        {"CAP_SYSLOG", {"syslog"}},
    };
    const Filter none{default_seccomp({})};
    for (const auto& [capability, names] : unlocked) {
        const Filter filter{default_seccomp({capability})};
        for (const auto name : names) {
            EXPECT_EQ(filter.verdict(name), kAllow) << name << " with " << capability;
            EXPECT_NE(none.verdict(name), kAllow) << name;
        }
        EXPECT_EQ(filter.verdict("bpf"), EPERM) << capability;
        EXPECT_EQ(filter.verdict("perf_event_open"), EPERM) << capability;
    }
    const Filter both{default_seccomp({"CAP_SYS_ADMIN", "CAP_BPF", "CAP_PERFMON"})};
    EXPECT_EQ(both.verdict("bpf"), kAllow);
    EXPECT_EQ(both.verdict("perf_event_open"), kAllow);
}

// ---- Rules that look at arguments: the verdict must not depend on bits the kernel ignores -------

constexpr std::uint64_t kHighBit = 0x1'0000'0000;

TEST(DefaultSeccompTest, CloneMakesThreadsAndProcessesButNoNamespaces)
{
    const Filter filter{default_seccomp(kPodmanCapabilities)};
    EXPECT_EQ(filter.verdict("clone", {0x3d0f00}), kAllow) << "pthread_create";
    EXPECT_EQ(filter.verdict("clone", {0x1200011}), kAllow) << "fork";
    EXPECT_EQ(filter.verdict("clone", {0x4111}), kAllow) << "vfork, as Go and posix_spawn";
    for (const std::uint64_t flag :
         {0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x7e020000}) {
        EXPECT_EQ(filter.verdict("clone", {flag | 17}), EPERM) << flag;
        EXPECT_EQ(filter.verdict("clone", {flag | kHighBit}), EPERM) << flag;
    }
    EXPECT_EQ(filter.verdict("clone3"), ENOSYS);

    const Filter admin{default_seccomp({"CAP_SYS_ADMIN"})};
    EXPECT_EQ(admin.verdict("clone", {0x10000011}), kAllow);
    EXPECT_EQ(admin.verdict("clone3"), kAllow);
}

TEST(DefaultSeccompTest, Personality)
{
    const Filter filter{default_seccomp(kAllCapabilities)};
    // Podman's five values.
    for (const std::uint64_t value : {0ULL, 8ULL, 0x20000ULL, 0x20008ULL, 0xffffffffULL}) {
        EXPECT_EQ(filter.verdict("personality", {value}), kAllow) << value;
    }
    EXPECT_EQ(filter.verdict("personality", {~0ULL}), kAllow) << "(unsigned) -1, sign-extended";
    for (const std::uint64_t value : {0x40000ULL, 0x40008ULL, 0x100000ULL, 1ULL, 0x400000ULL, 0x40000ULL | kHighBit}) {
        EXPECT_EQ(filter.verdict("personality", {value}), EPERM) << value;
    }
}

TEST(DefaultSeccompTest, IoctlsThatTypeIntoTheTerminalAreRefused)
{
    for (const auto& capabilities : few_capability_sets()) {
        const Filter filter{default_seccomp(capabilities)};
        for (const std::uint64_t request : {0x5412, 0x541c}) {
            EXPECT_EQ(filter.verdict("ioctl", {0, request}), EPERM) << request;
            EXPECT_EQ(filter.verdict("ioctl", {0, request | kHighBit}), EPERM) << request;
            EXPECT_EQ(filter.verdict("ioctl", {0, request | ~0xffffffffULL}), EPERM) << request;
        }
    }
    const Filter filter{default_seccomp(kPodmanCapabilities)};
    for (std::uint64_t request = 0x5000; request < 0x5800; ++request) {
        const bool refused = request == 0x5412 || request == 0x541c || request == 0x5423;
        ASSERT_EQ(filter.verdict("ioctl", {0, request}), refused ? EPERM : kAllow) << request;
    }
    EXPECT_EQ(filter.verdict("ioctl", {0, 0x80045430}), kAllow) << "TIOCGPTN";
    EXPECT_EQ(filter.verdict("ioctl", {0, 0xffffffff80045430}), kAllow) << "sign-extended";
    EXPECT_EQ(Filter{default_seccomp({"CAP_NET_ADMIN"})}.verdict("ioctl", {0, 0x5423}), kAllow);
}

TEST(DefaultSeccompTest, SocketFamilies)
{
    const Filter filter{default_seccomp(kPodmanCapabilities)};
    for (std::uint64_t family = 0; family < 64; ++family) {
        const bool allowed = family == 1 || family == 2 || family == 10 || family == 16;
        const int expected = allowed ? kAllow : family == 17 ? EPERM : EAFNOSUPPORT;
        EXPECT_EQ(filter.verdict("socket", {family, 1, 0}), expected) << family;
        EXPECT_EQ(filter.verdict("socket", {family | kHighBit, 1, 0}), expected) << family;
        EXPECT_EQ(filter.verdict("socketpair", {family, 1, 0}), family == 1 ? kAllow : EAFNOSUPPORT) << family;
    }
    EXPECT_EQ(filter.verdict("socket", {2, 0x80801, 6}), kAllow) << "type and protocol are free";

    const Filter full{default_seccomp(kAllCapabilities)};
    EXPECT_EQ(full.verdict("socket", {17, 3, 0}), kAllow);
    EXPECT_EQ(full.verdict("socket", {38, 5, 0}), EAFNOSUPPORT) << "AF_ALG";
    EXPECT_EQ(full.verdict("socket", {40, 1, 0}), EAFNOSUPPORT) << "AF_VSOCK";
}

TEST(DefaultSeccompTest, NetlinkProtocols)
{
    const auto allowed = [](const Capabilities& capabilities) {
        const Filter filter{default_seccomp(capabilities)};
        std::set<std::uint64_t> protocols;
        for (std::uint64_t protocol = 0; protocol < 64; ++protocol) {
            const int verdict = filter.verdict("socket", {16, 3, protocol});
            EXPECT_EQ(verdict, filter.verdict("socket", {16, 3, protocol | kHighBit}));
            EXPECT_TRUE(verdict == kAllow || verdict == EPROTONOSUPPORT) << protocol;
            if (verdict == kAllow) {
                protocols.insert(protocol);
            }
        }
        return protocols;
    };
    // Podman refuses 9 (audit) without CAP_AUDIT_WRITE.
    EXPECT_EQ(allowed(kPodmanCapabilities), (std::set<std::uint64_t>{0, 2, 4, 15, 16}));
    EXPECT_EQ(allowed({"CAP_NET_ADMIN"}), (std::set<std::uint64_t>{0, 2, 4, 5, 6, 12, 15, 16}));
    EXPECT_EQ(allowed({"CAP_AUDIT_WRITE"}), (std::set<std::uint64_t>{0, 2, 4, 9, 15, 16}));
}

#if defined(__x86_64__)
TEST(DefaultSeccompTest, Programs32BitRunAndX32DoesNot)
{
    const Filter filter{default_seccomp(kPodmanCapabilities)};
    for (const auto name :
         {"stat64", "mmap2", "fcntl64", "_llseek", "socketcall", "waitpid", "clock_gettime64", "futex_time64",
          "set_thread_area", "sigreturn", "getuid32", "ugetrlimit", "_newselect", "ipc"}) {
        EXPECT_EQ(filter.verdict(name, {}, SCMP_ARCH_X86), kAllow) << name;
    }
    // libseccomp resolves the name to a number of its own, standing for this and socketcall.
    constexpr int kSocket = 359;
    EXPECT_EQ(filter.verdict(kSocket, {38}, SCMP_ARCH_X86), EAFNOSUPPORT);
    EXPECT_EQ(filter.verdict(kSocket, {2}, SCMP_ARCH_X86), kAllow);
    EXPECT_EQ(filter.verdict("clone", {0x10000011}, SCMP_ARCH_X86), EPERM);
    EXPECT_EQ(filter.verdict("clone", {0x1200011}, SCMP_ARCH_X86), kAllow);
    EXPECT_EQ(filter.verdict("ioctl", {0, 0x5412}, SCMP_ARCH_X86), EPERM);
    EXPECT_EQ(filter.verdict("umount", {}, SCMP_ARCH_X86), EPERM);
    EXPECT_EQ(filter.verdict("stime", {}, SCMP_ARCH_X86), EPERM);
    for (const auto name : {"vm86", "vm86old", "modify_ldt", "uselib"}) {
        EXPECT_EQ(filter.verdict(name, {}, SCMP_ARCH_X86), ENOSYS) << name;
    }
    constexpr int kX32Bit = 0x40000000;
    EXPECT_EQ(filter.verdict(kX32Bit | 1, {}, SCMP_ARCH_X86_64), kKill);
    EXPECT_EQ(filter.verdict(kX32Bit | 520, {}, SCMP_ARCH_X86_64), kKill);
}
#endif

} // namespace
} // namespace coppice::instance
