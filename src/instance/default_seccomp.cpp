#include "coppice/instance/default_seccomp.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <span>
#include <string_view>

#include <sys/socket.h>

namespace coppice::instance {
namespace {

using Names = std::span<const std::string_view>;

// ---- Calls that every program may make ---------------------------------------------------------
// Both spellings of calls that exist once per word size (stat, stat64; clock_gettime,
// clock_gettime64): the filter serves 64-bit and 32-bit programs alike.

// Opening files, directories and pipes, and what a descriptor can do by itself.
constexpr auto kFiles = std::to_array<std::string_view>({
    "access",    "chdir",      "close",      "close_range", "creat",        "dup",          "dup2",  "dup3",
    "faccessat", "faccessat2", "fchdir",     "fcntl",       "fcntl64",      "flock",        "fstat", "fstat64",
    "fstatat64", "fstatfs",    "fstatfs64",  "getcwd",      "getdents",     "getdents64",   "link",  "linkat",
    "lseek",     "_llseek",    "lstat",      "lstat64",     "memfd_create", "memfd_secret", "mkdir", "mkdirat",
    "mknod",     "mknodat",    "newfstatat", "open",        "openat",       "openat2",      "pipe",  "pipe2",
    "readdir",   "readlink",   "readlinkat", "rename",      "renameat",     "renameat2",    "rmdir", "stat",
    "stat64",    "statfs",     "statfs64",   "statx",       "symlink",      "symlinkat",    "umask", "unlink",
    "unlinkat",
});

// Owner, mode, times, size and extended attributes: the kernel checks each against the inode.
constexpr auto kFileAttributes = std::to_array<std::string_view>({
    "chmod",       "chown",        "chown32",          "fallocate",   "fchmod",       "fchmodat",  "fchown",
    "fchown32",    "fchownat",     "fgetxattr",        "flistxattr",  "fremovexattr", "fsetxattr", "ftruncate",
    "ftruncate64", "futimesat",    "getxattr",         "lchown",      "lchown32",     "lgetxattr", "listxattr",
    "llistxattr",  "lremovexattr", "lsetxattr",        "removexattr", "setxattr",     "truncate",  "truncate64",
    "utime",       "utimensat",    "utimensat_time64", "utimes",
});

// Moving bytes. vmsplice is missing on purpose, see kForbidden.
constexpr auto kInputOutput = std::to_array<std::string_view>({
    "copy_file_range", "fadvise64", "fadvise64_64",    "fdatasync", "fsync",     "pread64", "preadv",   "preadv2",
    "pwrite64",        "pwritev",   "pwritev2",        "read",      "readahead", "readv",   "sendfile", "sendfile64",
    "splice",          "sync",      "sync_file_range", "syncfs",    "tee",       "write",   "writev",
});

// The old asynchronous interface (libaio), which databases use. It too works behind the filter's
// back, but unlike io_uring only reads, writes and polls descriptors that are open already.
constexpr auto kAsyncInputOutput = std::to_array<std::string_view>({
    "io_cancel",
    "io_destroy",
    "io_getevents",
    "io_setup",
    "io_submit",
});

// Waiting for descriptors and files to change.
constexpr auto kPolling = std::to_array<std::string_view>({
    "epoll_create", "epoll_create1", "epoll_ctl",
    "epoll_pwait",  "epoll_pwait2",  "epoll_wait",
    "eventfd",      "eventfd2",      "inotify_add_watch",
    "inotify_init", "inotify_init1", "inotify_rm_watch",
    "_newselect",   "poll",          "ppoll",
    "ppoll_time64", "pselect6",      "pselect6_time64",
    "select",       "signalfd",      "signalfd4",
});

// Memory of the calling process. remap_file_pages is missing: deprecated since Linux 3.16.
constexpr auto kMemory = std::to_array<std::string_view>({
    "brk",     "get_mempolicy", "madvise", "mbind",      "membarrier", "mincore",       "mlock",
    "mlock2",  "mlockall",      "mmap",    "mmap2",      "mprotect",   "mremap",        "msync",
    "munlock", "munlockall",    "munmap",  "pkey_alloc", "pkey_free",  "pkey_mprotect", "set_mempolicy",
});

// Starting, ending and waiting for processes; clone has its own rules.
constexpr auto kProcesses = std::to_array<std::string_view>({
    "execve",          "execveat", "exit",   "exit_group", "fork",       "getpgid", "getpgrp",
    "getpid",          "getppid",  "getsid", "gettid",     "pidfd_open", "prctl",   "process_mrelease",
    "set_tid_address", "setpgid",  "setsid", "vfork",      "wait4",      "waitid",  "waitpid",
});

// Looking into other processes of the same instance. ptrace could undo a filter before Linux 4.8
// (the tracer changed the call after the check); since then the check comes last. All of them need
// the right to trace the target, so that refusing one while granting ptrace would gain nothing.
constexpr auto kTracing = std::to_array<std::string_view>({
    "pidfd_getfd",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
});

// Threads, their locks and their per-thread data.
constexpr auto kThreads = std::to_array<std::string_view>({
    "futex",
    "futex_time64",
    "get_robust_list",
    "get_thread_area",
    "rseq",
    "set_robust_list",
    "set_thread_area",
});

// Scheduling and priorities; raising them is checked by the kernel.
constexpr auto kScheduling = std::to_array<std::string_view>({
    "getcpu",
    "getpriority",
    "ioprio_get",
    "ioprio_set",
    "sched_get_priority_max",
    "sched_get_priority_min",
    "sched_getaffinity",
    "sched_getattr",
    "sched_getparam",
    "sched_getscheduler",
    "sched_rr_get_interval",
    "sched_rr_get_interval_time64",
    "sched_setaffinity",
    "sched_setattr",
    "sched_setparam",
    "sched_setscheduler",
    "sched_yield",
    "setpriority",
});

// Signals.
constexpr auto kSignals = std::to_array<std::string_view>({
    "alarm",
    "kill",
    "pause",
    "pidfd_send_signal",
    "restart_syscall",
    "rt_sigaction",
    "rt_sigpending",
    "rt_sigprocmask",
    "rt_sigqueueinfo",
    "rt_sigreturn",
    "rt_sigsuspend",
    "rt_sigtimedwait",
    "rt_sigtimedwait_time64",
    "rt_tgsigqueueinfo",
    "sigaction",
    "sigaltstack",
    "signal",
    "sigpending",
    "sigprocmask",
    "sigreturn",
    "sigsuspend",
    "tgkill",
    "tkill",
});

// Clocks and timers. adjtimex and clock_adjtime also read; the kernel checks the writing.
constexpr auto kTime = std::to_array<std::string_view>({
    "adjtimex",
    "clock_adjtime",
    "clock_adjtime64",
    "clock_getres",
    "clock_getres_time64",
    "clock_gettime",
    "clock_gettime64",
    "clock_nanosleep",
    "clock_nanosleep_time64",
    "getitimer",
    "gettimeofday",
    "nanosleep",
    "setitimer",
    "time",
    "timer_create",
    "timer_delete",
    "timer_getoverrun",
    "timer_gettime",
    "timer_gettime64",
    "timer_settime",
    "timer_settime64",
    "timerfd_create",
    "timerfd_gettime",
    "timerfd_gettime64",
    "timerfd_settime",
    "timerfd_settime64",
    "times",
});

// Using sockets; socket and socketpair, which make them, have their own rules.
constexpr auto kSockets = std::to_array<std::string_view>({
    "accept",   "accept4", "bind",     "connect",    "getpeername",     "getsockname", "getsockopt",
    "listen",   "recv",    "recvfrom", "recvmmsg",   "recvmmsg_time64", "recvmsg",     "send",
    "sendmmsg", "sendmsg", "sendto",   "setsockopt", "shutdown",
});

// System V and POSIX queues, semaphores and shared memory: they belong to the IPC namespace.
constexpr auto kIpc = std::to_array<std::string_view>({
    "ipc",
    "mq_getsetattr",
    "mq_notify",
    "mq_open",
    "mq_timedreceive",
    "mq_timedreceive_time64",
    "mq_timedsend",
    "mq_timedsend_time64",
    "mq_unlink",
    "msgctl",
    "msgget",
    "msgrcv",
    "msgsnd",
    "semctl",
    "semget",
    "semop",
    "semtimedop",
    "semtimedop_time64",
    "shmat",
    "shmctl",
    "shmdt",
    "shmget",
});

// Users, groups and capabilities of the caller: bounded by the user namespace.
constexpr auto kIdentity = std::to_array<std::string_view>({
    "capget",    "capset",      "getegid",     "getegid32",  "geteuid",     "geteuid32",  "getgid",
    "getgid32",  "getgroups",   "getgroups32", "getresgid",  "getresgid32", "getresuid",  "getresuid32",
    "getuid",    "getuid32",    "setfsgid",    "setfsgid32", "setfsuid",    "setfsuid32", "setgid",
    "setgid32",  "setgroups",   "setgroups32", "setregid",   "setregid32",  "setresgid",  "setresgid32",
    "setresuid", "setresuid32", "setreuid",    "setreuid32", "setuid",      "setuid32",
});

// Limits, facts about the machine, random numbers.
constexpr auto kSystem = std::to_array<std::string_view>({
    "getrandom",
    "getrlimit",
    "getrusage",
    "prlimit64",
    "setrlimit",
    "sysinfo",
    "ugetrlimit",
    "uname",
});

// Giving up rights: a program that locks itself in further makes the instance safer.
constexpr auto kSandboxing = std::to_array<std::string_view>({
    "landlock_add_rule",
    "landlock_create_ruleset",
    "landlock_restrict_self",
    "seccomp",
});

// Calls that exist on one processor family only.
#if defined(__x86_64__)
// modify_ldt is missing: emulators of 16-bit programs and thread libraries from before 2003 use
// it, and root exploits did (CVE-2015-3290, CVE-2015-5157). Kernels can be built without it, hence
// ENOSYS.
constexpr auto kProcessor = std::to_array<std::string_view>({"arch_prctl"});
constexpr std::string_view kNativeArchitecture = "SCMP_ARCH_X86_64";
// x32 (64-bit registers, 32-bit pointers) stays out: distributions disable it in the kernel, no
// images exist, its entry points are separate code with bugs of their own (CVE-2014-0038), and a
// third architecture doubles the time that libseccomp takes (measured: 6.4 to 12.5 ms). Callers of
// an architecture that is not listed are killed.
constexpr std::string_view kCompatArchitecture = "SCMP_ARCH_X86";
#elif defined(__aarch64__)
constexpr auto kProcessor = std::to_array<std::string_view>({
    "arm_fadvise64_64",
    "arm_sync_file_range",
    "breakpoint",
    "cacheflush",
    "set_tls",
    "sync_file_range2",
});
constexpr std::string_view kNativeArchitecture = "SCMP_ARCH_AARCH64";
constexpr std::string_view kCompatArchitecture = "SCMP_ARCH_ARM";
#else
#error "the default seccomp filter knows x86_64 and aarch64"
#endif

constexpr auto kAllowed = std::to_array<Names>({
    kFiles,
    kFileAttributes,
    kInputOutput,
    kAsyncInputOutput,
    kPolling,
    kMemory,
    kProcesses,
    kTracing,
    kThreads,
    kScheduling,
    kSignals,
    kTime,
    kSockets,
    kIpc,
    kIdentity,
    kSystem,
    kSandboxing,
    kProcessor,
});

// ---- Calls that nobody in an instance may make -------------------------------------------------
// Only those for which EPERM says more than ENOSYS. Calls that kernels lack anyway (uselib,
// nfsservctl, vm86, sysfs, lookup_dcookie ...) are left to the default. So are add_key, keyctl and
// request_key (root exploit CVE-2016-0728): callers within an instance (runc, systemd, Kerberos) go
// on without key rings on ENOSYS, as kernels can lack them, while runc gives up on EPERM.
constexpr auto kForbidden = std::to_array<std::string_view>({
    // A second system call interface that this filter does not see, and the way of many root
    // exploits since 2021. EPERM is also the kernel's own answer (sysctl kernel.io_uring_disabled).
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    // Stops a kernel thread at a page fault of the caller's choice: makes race conditions certain.
    "userfaultfd",
    // Hands out references to pages that the kernel takes for its own (CVE-2008-0600, and the
    // pages of other processes in CVE-2020-29374).
    "vmsplice",
    // The machine belongs to the host: its kernel, its swap space, the placement of its pages.
    "kexec_file_load",
    "kexec_load",
    "migrate_pages",
    "move_pages",
    "swapoff",
    "swapon",
});

// ---- Calls bound to a capability ---------------------------------------------------------------
// Allowed when the bounding set holds all capabilities of the group, EPERM otherwise. A call may
// stand in several groups; one that is met is enough.
struct CapabilityGroup {
    std::string_view capability;
    std::string_view also; // empty: the first alone suffices
    Names names;
};

// Namespaces and mounts. Without the capability a program could get it by way of a new user
// namespace, and with it the kernel code (file systems, nftables) of most container escapes.
constexpr auto kNamespaces = std::to_array<std::string_view>({
    "clone3",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "pivot_root",
    "setns",
    "umount",
    "umount2",
    "unshare",
});
// Watching whole file systems, quotas, names of the UTS namespace. File handles serve systemd.
constexpr auto kAdministration = std::to_array<std::string_view>({
    "fanotify_init",
    "fanotify_mark",
    "name_to_handle_at",
    "quotactl",
    "setdomainname",
    "sethostname",
});
// Opens any inode of the file system under the root directory, and so leaves the root directory.
constexpr auto kFileHandles = std::to_array<std::string_view>({
    "name_to_handle_at",
    "open_by_handle_at",
});
// By it systemd tells cgroups apart. Nothing is opened: for that the other call of the two is needed.
constexpr auto kWholeSystem = std::to_array<std::string_view>({"name_to_handle_at"});
constexpr auto kBpf = std::to_array<std::string_view>({"bpf"});
constexpr auto kPerf = std::to_array<std::string_view>({"perf_event_open"});
constexpr auto kChroot = std::to_array<std::string_view>({"chroot"});
constexpr auto kModules = std::to_array<std::string_view>({
    "delete_module",
    "finit_module",
    "init_module",
});
constexpr auto kAccounting = std::to_array<std::string_view>({"acct"});
// Compares kernel pointers of two processes; advises on another's memory.
constexpr auto kForeignProcesses = std::to_array<std::string_view>({"kcmp", "process_madvise"});
constexpr auto kPorts = std::to_array<std::string_view>({"ioperm", "iopl"});
constexpr auto kSetTime = std::to_array<std::string_view>({
    "clock_settime",
    "clock_settime64",
    "settimeofday",
    "stime",
});
constexpr auto kTerminal = std::to_array<std::string_view>({"vhangup"});
// Ends the PID namespace, not the machine: how an init system in an instance powers off.
constexpr auto kReboot = std::to_array<std::string_view>({"reboot"});
// Reads the host's kernel log, addresses included.
constexpr auto kKernelLog = std::to_array<std::string_view>({"syslog"});

// bpf and perf_event_open want their own capability beside the general one: an instance with
// CAP_SYS_ADMIN over its own user namespace cannot use them, yet both are large and often broken.
constexpr auto kCapabilityGroups = std::to_array<CapabilityGroup>({
    {"CAP_SYS_ADMIN", {}, kNamespaces},
    {"CAP_SYS_ADMIN", {}, kAdministration},
    {"CAP_SYS_ADMIN", "CAP_BPF", kBpf},
    {"CAP_SYS_ADMIN", "CAP_PERFMON", kPerf},
    {"CAP_DAC_READ_SEARCH", {}, kFileHandles},
    {"CAP_SYS_CHROOT", {}, kChroot},
    {"CAP_SYS_MODULE", {}, kModules},
    {"CAP_SYS_PACCT", {}, kAccounting},
    {"CAP_SYS_PTRACE", {}, kForeignProcesses},
    {"CAP_SYS_RAWIO", {}, kPorts},
    {"CAP_SYS_TIME", {}, kSetTime},
    {"CAP_SYS_TTY_CONFIG", {}, kTerminal},
    {"CAP_SYS_BOOT", {}, kReboot},
    {"CAP_SYSLOG", {}, kKernelLog},
});

// ---- Rules that look at arguments --------------------------------------------------------------
// The kernel takes 32 bits of the arguments compared here, a filter sees 64: a plain "not equal"
// or "greater than" is evaded by setting a high bit. So every comparison masks the low half.
constexpr std::uint64_t kLow32 = 0xffff'ffff;

struct Condition {
    std::uint32_t index;
    std::uint64_t mask;
    std::uint64_t value;
};

constexpr Condition equals(std::uint32_t index, std::uint64_t value) { return {index, kLow32, value}; }

class Rules {
public:
    void allow(nlohmann::json names) { add(std::move(names), 0, {}); }

    /// @param error  0: allow
    void add(nlohmann::json names, int error, std::initializer_list<Condition> conditions)
    {
        nlohmann::json rule = {{"names", std::move(names)},
                               {"action", error == 0 ? "SCMP_ACT_ALLOW" : "SCMP_ACT_ERRNO"}};
        if (error != 0) {
            rule["errnoRet"] = error;
        }
        for (const auto& [index, mask, value] : conditions) {
            // For this operator `value` is the mask and `valueTwo` what is compared with.
            rule["args"].push_back(
                {{"index", index}, {"value", mask}, {"valueTwo", value}, {"op", "SCMP_CMP_MASKED_EQ"}});
        }
        rules_.push_back(std::move(rule));
    }

    /// Everything that no more exact rule of this call decides. A rule without conditions would
    /// make libseccomp drop the others, and so would an empty mask; a bit that is either 0 or 1 is
    /// not recognized as "always". Rules with a wider mask that includes this bit are tested
    /// first, whatever the order of adding them (libseccomp sorts so; the unit test runs the result).
    void add_otherwise(std::string_view name, int error, std::uint32_t index)
    {
        add({name}, error, {{index, 1, 0}});
        add({name}, error, {{index, 1, 1}});
    }

    nlohmann::json take() && { return std::move(rules_); }

private:
    nlohmann::json rules_ = nlohmann::json::array();
};

// CLONE_NEW* of clone(2); CLONE_NEWTIME shares its bit with the exit signal and needs clone3.
constexpr auto kNamespaceFlags = std::to_array<std::uint64_t>({
    0x0002'0000, // mount
    0x0200'0000, // cgroup
    0x0400'0000, // UTS
    0x0800'0000, // IPC
    0x1000'0000, // user
    0x2000'0000, // PID
    0x4000'0000, // network
});

void add_clone(Rules& rules)
{
    std::uint64_t all = 0;
    for (const auto flag : kNamespaceFlags) {
        all |= flag;
        rules.add({"clone"}, EPERM, {{0, flag, flag}});
    }
    rules.add({"clone"}, 0, {{0, all, 0}});
}

// PER_LINUX, PER_LINUX32, each with UNAME26 (only changes what uname says), and the question for
// the present value. Others take address space randomization and the like from programs started
// later; gdb warns that it cannot switch randomization off, and goes on.
constexpr auto kPersonalities = std::to_array<std::uint64_t>({
    0,
    0x0008,
    0x2'0000,
    0x2'0008,
    0xffff'ffff,
});

void add_personality(Rules& rules)
{
    for (const auto value : kPersonalities) {
        rules.add({"personality"}, 0, {equals(0, value)});
    }
    rules.add_otherwise("personality", EPERM, 0);
}

// The numbers are those of asm-generic/ioctls.h, which x86 and ARM share.
constexpr std::uint64_t kTiocsti = 0x5412;   // puts input into the terminal, as if typed
constexpr std::uint64_t kTioclinux = 0x541C; // the same by way of copy and paste on a console
constexpr std::uint64_t kTiocsetd = 0x5423;  // loads line disciplines (CVE-2017-2636); pppd uses it

void add_ioctl(Rules& rules, bool net_admin)
{
    rules.add({"ioctl"}, EPERM, {equals(1, kTiocsti)});
    rules.add({"ioctl"}, EPERM, {equals(1, kTioclinux)});
    if (!net_admin) {
        rules.add({"ioctl"}, EPERM, {equals(1, kTiocsetd)});
    }
    rules.add_otherwise("ioctl", 0, 1);
}

// From linux/netlink.h: what resolvers, `ip`, `ss` and device managers use.
constexpr auto kNetlinkProtocols = std::to_array<std::uint64_t>({
    0,  // NETLINK_ROUTE
    2,  // NETLINK_USERSOCK
    4,  // NETLINK_SOCK_DIAG
    15, // NETLINK_KOBJECT_UEVENT
    16, // NETLINK_GENERIC
});
constexpr auto kNetlinkAdminProtocols = std::to_array<std::uint64_t>({
    5,  // NETLINK_NFLOG
    6,  // NETLINK_XFRM
    12, // NETLINK_NETFILTER
});
constexpr std::uint64_t kNetlinkAudit = 9;

// A list of what is let through rather than of what is not: a kernel loads the module of a family
// when the first socket asks for it, and the exploits of the last years came through families
// that servers never use (AF_ALG: CVE-2026-31431; AF_VSOCK, which also reaches the hypervisor past
// the network namespace: CVE-2021-26708; AF_TIPC, AF_RDS, AF_CAN, AF_LLC ...).
void add_socket(Rules& rules, bool net_admin, bool net_raw, bool audit_write)
{
    const auto allow_netlink = [&rules](std::uint64_t protocol) {
        rules.add({"socket"}, 0, {equals(0, AF_NETLINK), equals(2, protocol)});
    };

    for (const std::uint64_t family : {std::uint64_t{AF_UNIX}, std::uint64_t{AF_INET}, std::uint64_t{AF_INET6}}) {
        rules.add({"socket"}, 0, {equals(0, family)});
    }
    rules.add({"socket"}, net_raw ? 0 : EPERM, {equals(0, AF_PACKET)});
    std::ranges::for_each(kNetlinkProtocols, allow_netlink);
    if (net_admin) {
        std::ranges::for_each(kNetlinkAdminProtocols, allow_netlink);
    }
    // Within a user namespace the audit system refuses messages, which makes sshd and sudo fail;
    // when the socket itself is not there they go on.
    if (audit_write) {
        allow_netlink(kNetlinkAudit);
    }
    rules.add({"socket"}, EPROTONOSUPPORT, {equals(0, AF_NETLINK), {2, 1, 0}});
    rules.add({"socket"}, EPROTONOSUPPORT, {equals(0, AF_NETLINK), {2, 1, 1}});
    rules.add_otherwise("socket", EAFNOSUPPORT, 0);

    // The kernel makes two sockets before it finds that the family has no pairs.
    rules.add({"socketpair"}, 0, {equals(0, AF_UNIX)});
    rules.add_otherwise("socketpair", EAFNOSUPPORT, 0);
}

} // namespace

nlohmann::json default_seccomp(const std::vector<std::string>& capabilities, bool whole_system)
{
    const auto has = [&capabilities](std::string_view name) {
        return name.empty() || std::ranges::find(capabilities, name) != capabilities.end();
    };
    const auto insert = [](std::vector<std::string_view>& into, Names names) {
        for (const auto name : names) {
            if (std::ranges::find(into, name) == into.end()) {
                into.push_back(name);
            }
        }
    };

    std::vector<std::string_view> allowed;
    for (const auto names : kAllowed) {
        allowed.insert(allowed.end(), names.begin(), names.end());
    }
    std::vector<std::string_view> granted;
    std::vector<std::string_view> refused(kForbidden.begin(), kForbidden.end());
    for (const auto& group : kCapabilityGroups) {
        insert(has(group.capability) && has(group.also) ? granted : refused, group.names);
    }
    if (whole_system) insert(granted, kWholeSystem);
    std::erase_if(refused, [&granted](std::string_view name) {
        // clone3 stays unknown without the capability: a filter cannot read its flags, and C
        // libraries fall back to clone on ENOSYS only.
        return name == "clone3" || std::ranges::find(granted, name) != granted.end();
    });
    allowed.insert(allowed.end(), granted.begin(), granted.end());

    Rules rules;
#if defined(__x86_64__)
    // 32-bit programs make sockets with this call, glibc's without another way. libseccomp turns
    // each rule for socket below into one for socketcall too; as their conditions do not fit there
    // it would find contradictions (EEXIST), unless all of socketcall has been decided before.
    rules.allow({"socketcall"});
#endif
    if (has("CAP_SYS_ADMIN")) {
        allowed.push_back("clone");
    } else {
        add_clone(rules);
    }
    rules.allow(allowed);
    rules.add(refused, EPERM, {});
    add_personality(rules);
    add_ioctl(rules, has("CAP_NET_ADMIN"));
    add_socket(rules, has("CAP_NET_ADMIN"), has("CAP_NET_RAW"), has("CAP_AUDIT_WRITE"));

    return {{"defaultAction", "SCMP_ACT_ERRNO"},
            {"defaultErrnoRet", ENOSYS},
            {"architectures", {kNativeArchitecture, kCompatArchitecture}},
            {"syscalls", std::move(rules).take()}};
}

} // namespace coppice::instance
