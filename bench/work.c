// The same work on the bare host and inside a container: bench/inside runs it in both at the same time.
//
// usage: work [filtered]            in a directory with the files "data" and "written", which have the same size
//
// filtered: under the least system call filter that there is, a single instruction that allows everything.
//
// Each letter on standard input asks for one piece of work; the answer is a line with the ns of processor time that it
// took. Processor time and not time of day, so that other programs on the machine do not count.

#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 65536, PAGE = 4096 };

static char buffer[BLOCK];
static int data, written, zero;
static off_t size;
static volatile uint64_t sink;

static void die(const char* what)
{
    perror(what);
    exit(1);
}

static long now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return time.tv_sec * 1000000000L + time.tv_nsec;
}

static uint64_t next(uint64_t x)
{
    x ^= x << 13;
    x ^= x >> 7;
    return x ^ x << 17;
}

static void compute(void)
{
    uint64_t x = 88172645463325252ULL;
    for (int i = 0; i < 4000000; ++i)
        x = next(x);
    sink = x;
}

static void get_parent(void)
{
    for (int i = 0; i < 30000; ++i)
        syscall(SYS_getppid);
}

static void open_and_close(void)
{
    for (int i = 0; i < 4000; ++i) {
        const int fd = open("data", O_RDONLY | O_CLOEXEC);
        if (fd < 0 || close(fd) < 0) die("data");
    }
}

static void read_zeros(void)
{
    for (int i = 0; i < 8000; ++i)
        if (read(zero, buffer, PAGE) != PAGE) die("/dev/zero");
}

static void read_in_order(void)
{
    for (int pass = 0; pass < 8; ++pass)
        for (off_t at = 0; at < size; at += BLOCK)
            if (pread(data, buffer, BLOCK, at) != BLOCK) die("data");
}

static void read_at_random(void)
{
    uint64_t x = 88172645463325252ULL;
    for (int i = 0; i < 8000; ++i) {
        x = next(x);
        if (pread(data, buffer, PAGE, (off_t)(x % (uint64_t)(size / PAGE)) * PAGE) != PAGE) die("data");
    }
}

static void write_in_order(void)
{
    for (int pass = 0; pass < 4; ++pass)
        for (off_t at = 0; at < size; at += BLOCK)
            if (pwrite(written, buffer, BLOCK, at) != BLOCK) die("written");
}

static void write_at_random(void)
{
    uint64_t x = 88172645463325252ULL;
    for (int i = 0; i < 3000; ++i) {
        x = next(x);
        if (pwrite(written, buffer, PAGE, (off_t)(x % (uint64_t)(size / PAGE)) * PAGE) != PAGE) die("written");
    }
}

static void install_filter(void)
{
    struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    const struct sock_fprog program = {.len = 1, .filter = &allow};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
        die("seccomp");
}

// The kernel keeps what was written in one go in larger pieces than what an overlay copied up, and is faster with these:
// all begin with what they have read from the disk.
static int open_cold(const char* path, int flags)
{
    const int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0 || (flags == O_RDWR && fdatasync(fd) < 0) || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0) die(path);
    return fd;
}

int main(int argc, char** argv)
{
    if (argc > 1 && strcmp(argv[1], "filtered") == 0) install_filter();
    data = open_cold("data", O_RDONLY);
    written = open_cold("written", O_RDWR); // an overlay copies it up here
    zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    if (zero < 0) die("/dev/zero");
    size = lseek(data, 0, SEEK_END);
    for (char letter; read(STDIN_FILENO, &letter, 1) == 1;) {
        const long begin = now_ns();
        switch (letter) {
        case 'c': compute(); break;
        case 'g': get_parent(); break;
        case 'o': open_and_close(); break;
        case 'z': read_zeros(); break;
        case 's': read_in_order(); break;
        case 'r': read_at_random(); break;
        case 'w': write_in_order(); break;
        case 'x': write_at_random(); break;
        default: return 2;
        }
        printf("%ld\n", now_ns() - begin);
        fflush(stdout);
    }
    return 0;
}
