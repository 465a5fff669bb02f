// What the kernel alone needs for a container such as `runc spec` describes: the same namespaces, mounts, masked and
// read-only paths, one cgroup (or those that the limits need), exec of /bin/true, the end, the clean-up. No
// configuration is read, no state kept, no rights are dropped, nothing is checked that a real runtime must check.
//
// usage: floor ROOT [limits]

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(call) ((call) < 0 ? (perror(#call), _exit(125)) : (void)0)

static const char* const kMasked[] = {"proc/acpi", "proc/asound", "proc/kcore", "proc/keys", "proc/latency_stats",
                                      "proc/timer_list", "proc/timer_stats", "proc/sched_debug", "sys/firmware", "proc/scsi"};
static const char* const kReadOnly[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};
static const char* const kDevices[] = {"null", "zero", "full", "random", "urandom", "tty"};

// The files that hold memory, cpu and pids limits: of version 1, or of version 2 where that has the controllers.
struct limit {
    const char *hierarchy, *file, *value;
};
static const struct limit kLimits1[] = {{"memory", "memory.limit_in_bytes", "67108864"},
                                        {"cpu", "cpu.cfs_quota_us", "100000"},
                                        {"pids", "pids.max", "64"}};
static const struct limit kLimits2[] = {{"", "memory.max", "67108864"}, {"", "cpu.max", "100000 100000"}, {"", "pids.max", "64"}};

static void put(const char* directory, const char* file, const char* value)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", directory, file);
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    CHECK(fd);
    CHECK(write(fd, value, strlen(value)));
    close(fd);
}

static void become_container(const char* root)
{
    CHECK(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL));
    CHECK(mount(root, root, NULL, MS_BIND | MS_REC, NULL));
    CHECK(chdir(root));
    CHECK(mount("proc", "proc", "proc", 0, NULL));
    CHECK(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"));
    for (size_t i = 0; i < sizeof kDevices / sizeof *kDevices; ++i) {
        char host[64];
        struct stat status;
        snprintf(host, sizeof host, "/dev/%s", kDevices[i]);
        CHECK(stat(host, &status));
        CHECK(mknod(host + 1, S_IFCHR | 0666, status.st_rdev));
    }
    CHECK(mkdir("dev/pts", 0755));
    CHECK(mkdir("dev/shm", 01777));
    CHECK(mkdir("dev/mqueue", 0755));
    CHECK(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"));
    CHECK(mount("shm", "dev/shm", "tmpfs", MS_NOSUID | MS_NOEXEC | MS_NODEV, "mode=1777,size=65536k"));
    CHECK(mount("mqueue", "dev/mqueue", "mqueue", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL));
    CHECK(mount("sysfs", "sys", "sysfs", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY, NULL));
    for (size_t i = 0; i < sizeof kReadOnly / sizeof *kReadOnly; ++i) {
        if (mount(kReadOnly[i], kReadOnly[i], NULL, MS_BIND | MS_REC, NULL) < 0) continue; // this kernel lacks it
        CHECK(mount(NULL, kReadOnly[i], NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
    }
    for (size_t i = 0; i < sizeof kMasked / sizeof *kMasked; ++i) {
        struct stat status;
        if (stat(kMasked[i], &status) < 0) continue;
        if (S_ISDIR(status.st_mode))
            CHECK(mount("tmpfs", kMasked[i], "tmpfs", MS_RDONLY, "size=0k"));
        else
            CHECK(mount("/dev/null", kMasked[i], NULL, MS_BIND, NULL));
    }
    CHECK(mount(NULL, ".", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
    CHECK(syscall(SYS_pivot_root, ".", "."));
    CHECK(umount2(".", MNT_DETACH));
    CHECK(chdir("/"));
    CHECK(sethostname("floor", 5));
}

int main(int argc, char** argv)
{
    if (argc < 2) return 2;
    const int limited = argc > 2;
    const int hybrid = access("/sys/fs/cgroup/unified/cgroup.procs", F_OK) == 0;
    const int unified = access("/sys/fs/cgroup/cgroup.procs", F_OK) == 0;
    char cgroup[64] = "", extra[3][64] = {"", "", ""};
    int cgroup_fd = -1;
    if (hybrid || unified) {
        snprintf(cgroup, sizeof cgroup, "/sys/fs/cgroup%s/floor-%d", hybrid ? "/unified" : "", getpid());
        CHECK(mkdir(cgroup, 0755));
        cgroup_fd = open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        CHECK(cgroup_fd);
    }
    for (int i = 0; limited && i < 3; ++i) {
        if (unified) {
            put(cgroup, kLimits2[i].file, kLimits2[i].value);
            continue;
        }
        snprintf(extra[i], sizeof extra[i], "/sys/fs/cgroup/%s/floor-%d", kLimits1[i].hierarchy, getpid());
        CHECK(mkdir(extra[i], 0755));
        put(extra[i], kLimits1[i].file, kLimits1[i].value);
    }
    int tasks[3] = {-1, -1, -1};
    for (int i = 0; i < 3; ++i) {
        if (extra[i][0] == '\0') continue;
        char path[512];
        snprintf(path, sizeof path, "%s/tasks", extra[i]);
        CHECK(tasks[i] = open(path, O_WRONLY | O_CLOEXEC));
    }
    struct clone_args args = {.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS, .exit_signal = SIGCHLD};
    if (cgroup_fd >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)cgroup_fd;
    }
    const pid_t child = (pid_t)syscall(SYS_clone3, &args, sizeof args);
    CHECK(child);
    if (child == 0) {
        // A thread that moves itself needs no lock of the whole machine; any other move may wait 10 ms for one.
        for (int i = 0; i < 3; ++i)
            if (tasks[i] >= 0) CHECK(write(tasks[i], "0", 1));
        become_container(argv[1]);
        execl("/bin/true", "true", (char*)NULL);
        _exit(127);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0));
    for (int i = 0; i < 3; ++i)
        if (extra[i][0] != '\0') CHECK(rmdir(extra[i]));
    if (cgroup_fd >= 0) CHECK(rmdir(cgroup));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
