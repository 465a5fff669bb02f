// Runs inside instances and tries what must not work. One line per attempt: NAME, then OK or the name of the errno.
// Static and without dependencies, so that it runs on any root. No attempt does harm where it succeeds: files are
// opened and never written to, calls get arguments that the kernel refuses behind its permission check.

#include <cerrno>
#include <climits>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <dirent.h>
#include <fcntl.h>
#include <functional>
#include <linux/keyctl.h>
#include <linux/sched.h>
#include <sched.h>
#include <string>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

void tell(const std::string& name, long result)
{
    const int number = errno;
    std::printf("%s %s\n", name.c_str(), result >= 0 ? "OK" : strerrorname_np(number));
    std::fflush(stdout);
}

/// In a child: what works must not change the next attempt.
void attempt(const char* name, const std::function<long()>& act)
{
    std::fflush(stdout);
    const pid_t child = ::fork();
    if (child == 0) {
        ::alarm(10);
        tell(name, act());
        ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) std::printf("%s killed-by-%d\n", name, WTERMSIG(status));
}

long open_only(const char* path, int flags)
{
    const int fd = ::open(path, flags | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0) ::close(fd);
    return fd;
}

/// Finds `release_agent` files below the cgroup mounts and tries to open them for writing.
long open_release_agent()
{
    for (const char* const path : {"/sys/fs/cgroup/release_agent", "/sys/fs/cgroup/memory/release_agent",
                                   "/sys/fs/cgroup/systemd/release_agent", "/sys/fs/cgroup/cpu/release_agent"}) {
        if (::access(path, F_OK) == 0) return open_only(path, O_WRONLY);
    }
    errno = ENOENT;
    return -1;
}

long make_and_open_device(mode_t type, unsigned major, unsigned minor)
{
    const char* const path = "/tmp/probe-device";
    ::unlink(path);
    if (::mknod(path, type | 0666, makedev(major, minor)) < 0) return -1;
    const long result = open_only(path, O_RDONLY);
    const int number = errno;
    ::unlink(path);
    errno = number;
    return result;
}

/// The node is opened by path only, which asks nobody; then that descriptor is opened.
long open_device_by_path_descriptor(mode_t type, unsigned major, unsigned minor)
{
    const char* const path = "/tmp/probe-device";
    ::unlink(path);
    if (::mknod(path, type | 0666, makedev(major, minor)) < 0) return -1;
    const int node = ::open(path, O_PATH | O_CLOEXEC);
    const long result = open_only(("/proc/self/fd/" + std::to_string(node)).c_str(), O_RDONLY);
    const int number = errno;
    ::unlink(path);
    ::close(node);
    errno = number;
    return result;
}

long open_by_handle()
{
    struct {
        file_handle handle;
        unsigned char bytes[128];
    } root{};
    root.handle.handle_bytes = 8;
    root.handle.handle_type = 1;
    root.handle.f_handle[0] = 2; // the root inode of ext4
    const int here = ::open("/etc/greeting", O_RDONLY);
    return ::open_by_handle_at(here, &root.handle, O_RDONLY);
}

long clone3_user_namespace()
{
    clone_args args{};
    args.flags = CLONE_NEWUSER;
    args.exit_signal = SIGCHLD;
    const long pid = ::syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0) ::_exit(0);
    return pid;
}

long clone_user_namespace()
{
    const long pid = ::syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, nullptr, nullptr, nullptr, nullptr);
    if (pid == 0) ::_exit(0);
    return pid;
}

int attack()
{
    attempt("mount-tmpfs", [] { return ::mount("none", "/mnt", "tmpfs", 0, nullptr); });
    attempt("mount-proc", [] { return ::mount("proc", "/mnt", "proc", 0, nullptr); });
    attempt("mount-sysfs", [] { return ::mount("sysfs", "/mnt", "sysfs", 0, nullptr); });
    attempt("mount-cgroup", [] { return ::mount("cgroup", "/mnt", "cgroup", 0, "memory"); });
    attempt("mount-cgroup2", [] { return ::mount("cgroup2", "/mnt", "cgroup2", 0, nullptr); });
    attempt("mount-bind", [] { return ::mount("/etc", "/mnt", nullptr, MS_BIND, nullptr); });
    attempt("remount-root", [] { return ::mount(nullptr, "/", nullptr, MS_REMOUNT | MS_BIND, nullptr); });
    attempt("remount-sys-rw", [] { return ::mount(nullptr, "/sys", nullptr, MS_REMOUNT | MS_BIND, nullptr); });
    attempt("remount-proc-sys-rw",
            [] { return ::mount(nullptr, "/proc/sys", nullptr, MS_REMOUNT | MS_BIND, nullptr); });
    attempt("umount-proc-sys", [] { return ::umount2("/proc/sys", MNT_DETACH); });
    attempt("umount-masked-file", [] { return ::umount2("/proc/keys", MNT_DETACH); });
    attempt("umount-masked-directory", [] { return ::umount2("/sys/firmware", MNT_DETACH); });
    attempt("umount-proc", [] { return ::umount2("/proc", MNT_DETACH); });
    attempt("fsopen", [] { return ::syscall(SYS_fsopen, "proc", 0); });
    attempt("open_tree", [] { return ::syscall(SYS_open_tree, AT_FDCWD, "/", 1); });
    attempt("move_mount", [] { return ::syscall(SYS_move_mount, -1, "", AT_FDCWD, "/mnt", 4); });
    attempt("mount_setattr", [] { return ::syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, nullptr, 0); });
    attempt("pivot_root", [] { return ::syscall(SYS_pivot_root, "/", "/mnt"); });
    attempt("unshare-user", [] { return ::unshare(CLONE_NEWUSER); });
    attempt("unshare-mount", [] { return ::unshare(CLONE_NEWNS); });
    attempt("unshare-pid", [] { return ::unshare(CLONE_NEWPID); });
    attempt("unshare-net", [] { return ::unshare(CLONE_NEWNET); });
    attempt("clone-user", clone_user_namespace);
    attempt("clone3-user", clone3_user_namespace);
    attempt("setns", [] { return ::setns(::open("/proc/self/ns/uts", O_RDONLY), 0); });
    attempt("keyctl", [] { return ::syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0); });
    attempt("add_key", [] { return ::syscall(SYS_add_key, "user", "probe", "x", 1, KEY_SPEC_PROCESS_KEYRING); });
    attempt("request_key", [] { return ::syscall(SYS_request_key, "user", "probe", nullptr, 0); });
    attempt("bpf", [] { return ::syscall(SYS_bpf, 0, nullptr, 0); });
    attempt("perf_event_open", [] { return ::syscall(SYS_perf_event_open, nullptr, 0, -1, -1, 0); });
    attempt("userfaultfd", [] { return ::syscall(SYS_userfaultfd, 0); });
    attempt("io_uring_setup", [] { return ::syscall(SYS_io_uring_setup, 1, nullptr); });
    attempt("open_by_handle_at", open_by_handle);
    attempt("init_module", [] { return ::syscall(SYS_init_module, nullptr, 0, ""); });
    attempt("finit_module", [] { return ::syscall(SYS_finit_module, -1, "", 0); });
    attempt("delete_module", [] { return ::syscall(SYS_delete_module, "no-such-module", 0); });
    attempt("kexec_load", [] { return ::syscall(SYS_kexec_load, 0, 0, nullptr, 0); });
    attempt("reboot", [] { return ::syscall(SYS_reboot, 0, 0, 0, nullptr); });
    attempt("swapon", [] { return ::syscall(SYS_swapon, "/no-such-file", 0); });
    attempt("settimeofday", [] { return ::syscall(SYS_settimeofday, nullptr, nullptr); });
    attempt("clock_settime", [] { return ::syscall(SYS_clock_settime, CLOCK_REALTIME, nullptr); });
    attempt("iopl", [] { return ::syscall(SYS_iopl, 3); });
    attempt("ioperm", [] { return ::syscall(SYS_ioperm, 0, 1, 1); });
    attempt("acct", [] { return ::syscall(SYS_acct, "/no-such-file"); });
    attempt("quotactl", [] { return ::syscall(SYS_quotactl, 0, nullptr, 0, nullptr); });
    attempt("syslog", [] { return ::syscall(SYS_syslog, 3, nullptr, 0); });
    attempt("vhangup", [] { return ::syscall(SYS_vhangup); });
    attempt("mknod-disk", [] { return make_and_open_device(S_IFBLK, 254, 0); });
    attempt("mknod-disk-by-path-descriptor", [] { return open_device_by_path_descriptor(S_IFBLK, 254, 0); });
    attempt("mknod-mem", [] { return make_and_open_device(S_IFCHR, 1, 1); });
    attempt("mknod-kmsg", [] { return make_and_open_device(S_IFCHR, 1, 11); });
    attempt("mknod-loop-control", [] { return make_and_open_device(S_IFCHR, 10, 237); });
    attempt("write-core_pattern", [] { return open_only("/proc/sys/kernel/core_pattern", O_WRONLY); });
    attempt("write-modprobe", [] { return open_only("/proc/sys/kernel/modprobe", O_WRONLY); });
    attempt("write-core_pattern-by-root-link",
            [] { return open_only("/proc/1/root/proc/sys/kernel/core_pattern", O_WRONLY); });
    attempt("write-sysrq-trigger", [] { return open_only("/proc/sysrq-trigger", O_WRONLY); });
    attempt("write-uevent_helper", [] { return open_only("/sys/kernel/uevent_helper", O_WRONLY); });
    attempt("write-hostname-file", [] { return open_only("/proc/sys/kernel/hostname", O_WRONLY); });
    attempt("write-release_agent", open_release_agent);
    attempt("write-cgroup-procs", [] { return open_only("/sys/fs/cgroup/cgroup.procs", O_WRONLY); });
    attempt("create-in-sys", [] { return open_only("/sys/kernel/probe", O_WRONLY | O_CREAT); });
    attempt("sethostname", [] { return ::sethostname("evil", 4); });
    attempt("raw-socket", [] { return ::socket(AF_INET, SOCK_RAW, 1); });
    attempt("packet-socket", [] { return ::socket(AF_PACKET, SOCK_RAW, 0); });
    attempt("vsock", [] { return ::socket(AF_VSOCK, SOCK_STREAM, 0); });
    attempt("personality", [] { return ::syscall(SYS_personality, 0x0400000); });
    return 0;
}

/// Does a read of this file give anything at all?
int read_nothing(int count, char** paths)
{
    for (int i = 0; i < count; ++i) {
        char bytes[256];
        const int fd = ::open(paths[i], O_RDONLY | O_NONBLOCK);
        const auto got = fd < 0 ? -1 : ::read(fd, bytes, sizeof bytes);
        if (fd < 0)
            std::printf("%s %s\n", paths[i], strerrorname_np(errno));
        else
            std::printf("%s %s\n", paths[i], got < 0 ? strerrorname_np(errno) : got == 0 ? "empty" : "CONTENT");
        if (fd >= 0) ::close(fd);
    }
    return 0;
}

bool is_number(const char* text) { return *text != 0 && std::strspn(text, "0123456789") == std::strlen(text); }

/// Whether a process runs what the tests run inside, and not a program of the runtime.
bool is_own_program(const struct stat& program)
{
    for (const char* const path : {"/bin/busybox", "/proc/self/exe"}) {
        struct stat own{};
        if (::stat(path, &own) == 0 && own.st_dev == program.st_dev && own.st_ino == program.st_ino) return true;
    }
    return false;
}

/// CVE-2019-5736: looks for processes that run a program which is not of this root, and tries to open that program for
/// writing, also when the process has ended and the file is no longer busy.
int overwrite(double seconds)
{
    const auto now = [] {
        timespec time{};
        ::clock_gettime(CLOCK_MONOTONIC, &time);
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
    };
    const double end = now() + seconds;
    int seen = 0, opened = 0, looked_into = 0;
    std::printf("hunting\n");
    std::fflush(stdout);
    while (now() < end) {
        DIR* const proc = ::opendir("/proc");
        while (const dirent* const entry = ::readdir(proc)) {
            if (!is_number(entry->d_name) || std::atoi(entry->d_name) == ::getpid()) continue;
            const std::string base = std::string{"/proc/"} + entry->d_name;
            const int exe = ::open((base + "/exe").c_str(), O_PATH | O_CLOEXEC);
            if (exe < 0) continue; // not allowed to look: right so
            struct stat status{};
            ::fstat(exe, &status);
            char target[PATH_MAX] = {};
            if (::readlink((base + "/exe").c_str(), target, sizeof target - 1) < 0 || is_own_program(status)) {
                ::close(exe);
                continue;
            }
            ++seen;
            const int memory = ::open((base + "/mem").c_str(), O_RDWR | O_CLOEXEC);
            if (memory >= 0) {
                ++looked_into;
                ::close(memory);
            }
            const std::string again = "/proc/self/fd/" + std::to_string(exe);
            int number = 0;
            for (int i = 0; i < 300; ++i) { // busy as long as it runs
                const int writable = ::open(again.c_str(), O_WRONLY | O_CLOEXEC);
                if (writable >= 0) {
                    ++opened;
                    ::close(writable);
                    number = 0;
                    break;
                }
                number = errno;
                if (number != ETXTBSY) break;
                ::usleep(1000);
            }
            std::printf("foreign %s %s\n", target, number == 0 ? "OPENED-FOR-WRITING" : strerrorname_np(number));
            ::close(exe);
        }
        ::closedir(proc);
    }
    std::printf("seen %d opened %d\n", seen, opened);
    return opened > 0 ? 1 : 0;
}

/// Looks for processes that enter: whoever executes no program of this root yet must not be looked into.
int spy(double seconds)
{
    const time_t end = ::time(nullptr) + static_cast<time_t>(seconds);
    int refused = 0;
    std::printf("spying\n");
    std::fflush(stdout);
    while (::time(nullptr) < end) {
        DIR* const proc = ::opendir("/proc");
        while (const dirent* const entry = ::readdir(proc)) {
            if (!is_number(entry->d_name) || std::atoi(entry->d_name) == ::getpid()) continue;
            const std::string base = std::string{"/proc/"} + entry->d_name;
            struct stat status{};
            const int exe = ::open((base + "/exe").c_str(), O_PATH | O_CLOEXEC);
            if (exe < 0) {
                if (errno == EACCES || errno == EPERM) {
                    ++refused;
                    for (const char* const file : {"/mem", "/environ", "/maps"}) {
                        const int fd = ::open((base + file).c_str(), O_RDONLY | O_CLOEXEC);
                        char byte = 0;
                        // By now it may have executed: then it is ours to look at.
                        const int again = ::open((base + "/exe").c_str(), O_PATH | O_CLOEXEC);
                        if (fd >= 0 && again < 0 && errno != ENOENT && errno != ESRCH && ::read(fd, &byte, 1) > 0)
                            std::printf("LOOKED-INTO %s%s\n", entry->d_name, file);
                        if (fd >= 0) ::close(fd);
                        if (again >= 0) ::close(again);
                    }
                }
                continue;
            }
            if (::fstat(exe, &status) == 0 && !is_own_program(status))
                std::printf("LOOKED-INTO %s/exe\n", entry->d_name);
            ::close(exe);
        }
        ::closedir(proc);
    }
    std::printf("refused %d\n", refused);
    return 0;
}

int shared_memory(const char* verb, int key)
{
    const int id = ::shmget(key, 4096, std::strcmp(verb, "make") == 0 ? IPC_CREAT | IPC_EXCL | 0600 : 0);
    tell("shm", id);
    return id < 0 ? 1 : 0;
}

int inject(int fd)
{
    const char letter = 'x';
    tell("TIOCSTI", ::ioctl(fd, TIOCSTI, &letter));
    tell("TIOCSCTTY", ::ioctl(fd, TIOCSCTTY, 1));
    tell("TIOCSTI-again", ::ioctl(fd, TIOCSTI, &letter));
    return 0;
}

int die_by(int signal)
{
    ::signal(signal, SIG_DFL);
    ::kill(::getpid(), signal);
    ::pause();
    return 0;
}

/// Says "ready", then the names of the signals it gets, until the one named.
volatile sig_atomic_t caught = 0;
int listen_signals(int last)
{
    ::setvbuf(stdout, nullptr, _IONBF, 0);
    sigset_t all;
    ::sigfillset(&all);
    ::sigprocmask(SIG_BLOCK, &all, nullptr);
    std::puts("ready");
    for (;;) {
        int number = 0;
        ::sigwait(&all, &number);
        if (number == SIGCHLD) continue;
        std::printf("%s\n", sigabbrev_np(number));
        if (number == last) return 0;
    }
}

int eat(std::size_t mebibytes)
{
    for (std::size_t i = 0; i < mebibytes; ++i) {
        auto* const memory = static_cast<char*>(std::malloc(1U << 20));
        if (memory == nullptr) return 1;
        std::memset(memory, static_cast<int>(i | 1), 1U << 20);
    }
    std::puts("eaten");
    return 0;
}

int fork_many(int count)
{
    int made = 0;
    for (int i = 0; i < count; ++i) {
        const pid_t child = ::fork();
        if (child < 0) {
            std::printf("made %d %s\n", made, strerrorname_np(errno));
            return 0;
        }
        if (child == 0) {
            ::sleep(5);
            ::_exit(0);
        }
        ++made;
    }
    std::printf("made %d all\n", made);
    return 0;
}

int show(int fd)
{
    char bytes[4096];
    const auto got = fd < 0 ? -1 : ::read(fd, bytes, sizeof bytes);
    if (got < 0) {
        std::printf("%s\n", strerrorname_np(errno));
        return 1;
    }
    std::fwrite(bytes, 1, static_cast<std::size_t>(got), stdout);
    return 0;
}

/// Connects to a unix socket of either kind, "@NAME" in the abstract name space.
int connect_to(const char* name)
{
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::size_t length = std::strlen(name);
    if (length >= sizeof address.sun_path) return 2;
    std::memcpy(address.sun_path, name, length);
    if (name[0] == '@') address.sun_path[0] = 0;
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
    for (const int kind : {SOCK_STREAM, SOCK_SEQPACKET}) {
        const int socket = ::socket(AF_UNIX, kind, 0);
        if (::connect(socket, reinterpret_cast<const sockaddr*>(&address), size) < 0) continue;
        std::puts("connected");
        return 0;
    }
    return show(-1);
}

/// Shows a file by the handle that somebody else has got of it: its type and its bytes in hexadecimal digits.
int open_handle(int type, const char* digits)
{
    struct {
        file_handle handle;
        unsigned char bytes[128];
    } file{};
    file.handle.handle_type = type;
    const std::size_t count = std::strlen(digits) / 2;
    if (count > sizeof file.bytes) return 2;
    for (std::size_t i = 0; i < count; ++i)
        file.handle.f_handle[i] = static_cast<unsigned char>(std::stoul(std::string{digits + 2 * i, 2}, nullptr, 16));
    file.handle.handle_bytes = static_cast<unsigned>(count);
    return show(::open_by_handle_at(::open("/etc", O_RDONLY | O_DIRECTORY), &file.handle, O_RDONLY));
}

/// The old way out of a chroot: another one below, while the working directory stays above it. PATH is relative.
int escape(const char* path)
{
    ::mkdir("/tmp/probe-root", 0700);
    if (::chdir("/") < 0 || ::chroot("/tmp/probe-root") < 0) return show(-1);
    for (int i = 0; i < 64; ++i)
        if (::chdir("..") < 0) return show(-1);
    return show(::open(path, O_RDONLY));
}

/// A fork bomb: whoever there is goes on making more.
[[noreturn]] void bomb()
{
    for (;;)
        if (::fork() < 0) ::sched_yield();
}

/// Sends a datagram to NOTIFY_SOCKET, as sd_notify does.
int notify(const char* text)
{
    const char* const path = std::getenv("NOTIFY_SOCKET");
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path == nullptr || std::strlen(path) >= sizeof address.sun_path) return 1;
    std::strcpy(address.sun_path, path);
    const int socket = ::socket(AF_UNIX, SOCK_DGRAM, 0);
    const auto* const to = reinterpret_cast<const sockaddr*>(&address);
    const auto sent = ::sendto(socket, text, std::strlen(text), 0, to, sizeof address);
    if (sent < 0) std::perror("notify");
    return sent < 0 ? 1 : 0;
}

/// Exchanges two names for ever.
int flip(const char* first, const char* second)
{
    for (;;)
        if (::renameat2(AT_FDCWD, first, AT_FDCWD, second, RENAME_EXCHANGE) < 0) {
            std::perror("flip");
            return 1;
        }
}

int show_keyring()
{
    std::printf("%ld\n", ::syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0));
    return 0;
}

} // namespace

int main(int argc, char** argv)
{
    const std::string what = argc > 1 ? argv[1] : "";
    const double number = argc > 2 ? std::atof(argv[argc - 1]) : 0;
    if (what == "flip" && argc == 4) return flip(argv[2], argv[3]);
    if (what == "keyring") return show_keyring();
    if (what == "euid") return std::printf("%u\n", ::geteuid()) < 0 ? 1 : 0;
    if (what == "notify") return notify(argv[2]);
    if (what == "attack") return attack();
    if (what == "read") return read_nothing(argc - 2, argv + 2);
    if (what == "overwrite") return overwrite(number);
    if (what == "spy") return spy(number);
    if (what == "shm") return shared_memory(argv[2], static_cast<int>(number));
    if (what == "inject") return inject(static_cast<int>(number));
    if (what == "die") return die_by(static_cast<int>(number));
    if (what == "signals") return listen_signals(static_cast<int>(number));
    if (what == "eat") return eat(static_cast<std::size_t>(number));
    if (what == "bomb") bomb();
    if (what == "connect") return connect_to(argv[2]);
    if (what == "handle" && argc == 4) return open_handle(std::atoi(argv[2]), argv[3]);
    if (what == "escape") return escape(argv[2]);
    if (what == "fork") return fork_many(static_cast<int>(number));
    std::fprintf(stderr, "probe: unknown word '%s'\n", what.c_str());
    return 2;
}
