// Runs programs by turns and says how long each took: the part of the benchmarks that must not distort the times.
//
// usage: driver [-n ROUNDS] [-w WARM-UP ROUNDS] [-p PAUSE IN MS] [-j JOBS] <TASKS
//
// TASKS has lines of words separated by tabs: "contender NAME [hide-unified]", and below it one or more "step PROGRAM
// ARGUMENT...", which are run one after another. "{}" in an argument becomes a name that no other run has.
// Each round runs every contender once, in another order each time (a fixed sequence). Output, tab-separated:
//   NAME, total us, greatest resident set of the programs in KiB, us of each step
// With -j a contender's ROUNDS runs are shared out among JOBS processes at once, one contender after another:
//   NAME, us of wall-clock time, us of each run in the order in which they began
// A run that fails ends the driver with an error.
//
// hide-unified: the programs see the cgroup hierarchies of version 1 only (crun cannot work with hybrid ones).

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CONTENDERS = 32, MAX_STEPS = 8, MAX_WORDS = 64, MAX_TEXT = 65536 };

struct contender {
    char* name;
    int hide_unified;
    int steps;
    char* words[MAX_STEPS][MAX_WORDS];
};

static struct contender contenders[MAX_CONTENDERS];
static int contender_count;
static int own_mounts = -1, hidden_mounts = -1;
static posix_spawn_file_actions_t no_streams;
extern char** environ;

static void die(const char* format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("driver: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static long now_us(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000L + time.tv_nsec / 1000;
}

static void read_tasks(void)
{
    static char text[MAX_TEXT];
    const size_t length = fread(text, 1, sizeof text - 1, stdin);
    if (length == sizeof text - 1) die("too many tasks");
    char* rest = text;
    for (char* line; (line = strsep(&rest, "\n")) != NULL;) {
        if (*line == '\0') continue;
        char* words = line;
        const char* const kind = strsep(&words, "\t");
        if (strcmp(kind, "contender") == 0 && words != NULL && contender_count < MAX_CONTENDERS) {
            struct contender* const one = &contenders[contender_count++];
            one->name = strsep(&words, "\t");
            one->hide_unified = words != NULL && strcmp(words, "hide-unified") == 0;
        } else if (strcmp(kind, "step") == 0 && words != NULL && contender_count > 0 &&
                   contenders[contender_count - 1].steps < MAX_STEPS) {
            struct contender* const one = &contenders[contender_count - 1];
            int count = 0;
            for (char* word; count < MAX_WORDS - 1 && (word = strsep(&words, "\t")) != NULL;)
                one->words[one->steps][count++] = word;
            ++one->steps;
        } else {
            die("cannot understand the line that begins with: %s", kind);
        }
    }
}

// A mount namespace without the cgroup hierarchy of version 2, kept by its descriptor.
static void make_hidden_mounts(void)
{
    int ready[2], done[2];
    char byte = 0;
    if (pipe2(ready, O_CLOEXEC) < 0 || pipe2(done, O_CLOEXEC) < 0) die("pipe: %s", strerror(errno));
    const pid_t child = fork();
    if (child == 0) {
        close(done[1]);
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) _exit(1);
        umount2("/sys/fs/cgroup/unified", MNT_DETACH); // may not be there
        if (write(ready[1], &byte, 1) != 1 || read(done[0], &byte, 1) < 0) _exit(1);
        _exit(0);
    }
    close(ready[1]);
    if (child < 0 || read(ready[0], &byte, 1) != 1) die("cannot make a mount namespace: root is needed");
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/mnt", child);
    hidden_mounts = open(path, O_RDONLY | O_CLOEXEC);
    own_mounts = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    if (hidden_mounts < 0 || own_mounts < 0) die("open %s: %s", path, strerror(errno));
    close(done[1]);
    waitpid(child, NULL, 0);
    close(ready[0]);
    close(done[0]);
}

static void enter_mounts(const struct contender* one)
{
    static int hidden = 0;
    if (hidden == one->hide_unified) return;
    hidden = one->hide_unified;
    if (setns(hidden ? hidden_mounts : own_mounts, CLONE_NEWNS) < 0) die("setns: %s", strerror(errno));
}

static void reap_strays(void)
{
    while (waitpid(-1, NULL, WNOHANG) > 0) {}
}

static long run_step(const struct contender* one, int step, const char* id, long* resident)
{
    char texts[MAX_WORDS][512];
    char* words[MAX_WORDS] = {NULL};
    for (int i = 0; one->words[step][i] != NULL; ++i) {
        char* const word = one->words[step][i];
        const char* const place = strstr(word, "{}");
        words[i] = word;
        if (place == NULL) continue;
        snprintf(texts[i], sizeof texts[i], "%.*s%s%s", (int)(place - word), word, id, place + 2);
        words[i] = texts[i];
    }
    pid_t pid = 0;
    int status = 0;
    struct rusage usage;
    const long begin = now_us();
    const int failed = posix_spawn(&pid, words[0], &no_streams, NULL, words, environ);
    if (failed != 0) die("%s: %s: %s", one->name, words[0], strerror(failed));
    while (wait4(pid, &status, 0, &usage) < 0)
        if (errno != EINTR) die("wait4: %s", strerror(errno));
    const long duration = now_us() - begin;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        die("%s: step %d (%s) ended with %s %d", one->name, step + 1, id, WIFEXITED(status) ? "exit status" : "signal",
            WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    if (usage.ru_maxrss > *resident) *resident = usage.ru_maxrss;
    return duration;
}

static long run_once(const struct contender* one, int print)
{
    static unsigned long counter;
    char id[64];
    long resident = 0, total = 0, durations[MAX_STEPS];
    snprintf(id, sizeof id, "bench-%d-%lu", getpid(), counter++);
    enter_mounts(one);
    for (int step = 0; step < one->steps; ++step) {
        durations[step] = run_step(one, step, id, &resident);
        total += durations[step];
    }
    reap_strays(); // the first processes of created containers become our children
    if (!print) return total;
    printf("%s\t%ld\t%ld", one->name, total, resident);
    for (int step = 0; step < one->steps; ++step)
        printf("\t%ld", durations[step]);
    putchar('\n');
    return total;
}

static void run_at_once(const struct contender* one, int runs, int jobs)
{
    pid_t workers[256];
    fflush(stdout);
    const size_t size = sizeof(long) * (size_t)runs;
    long* const totals = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (totals == MAP_FAILED) die("mmap: %s", strerror(errno));
    const long begin = now_us();
    for (int job = 0; job < jobs; ++job) {
        workers[job] = fork();
        if (workers[job] < 0) die("fork: %s", strerror(errno));
        if (workers[job] > 0) continue;
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        for (int run = job; run < runs; run += jobs)
            totals[run] = run_once(one, 0);
        exit(0);
    }
    for (int job = 0; job < jobs; ++job) {
        int status = 0;
        if (waitpid(workers[job], &status, 0) < 0 || status != 0) die("%s: a job failed", one->name);
    }
    const long wall = now_us() - begin;
    printf("%s\t%ld", one->name, wall);
    for (int run = 0; run < runs; ++run)
        printf("\t%ld", totals[run]);
    putchar('\n');
    munmap(totals, size);
}

int main(int argc, char** argv)
{
    int rounds = 20, warm_up = 2, pause_ms = 0, jobs = 0;
    for (int option; (option = getopt(argc, argv, "n:w:p:j:")) != -1;) {
        switch (option) {
        case 'n': rounds = atoi(optarg); break;
        case 'w': warm_up = atoi(optarg); break;
        case 'p': pause_ms = atoi(optarg); break;
        case 'j': jobs = atoi(optarg); break;
        default: return 2;
        }
    }
    if (jobs > 256) die("too many jobs");
    read_tasks();
    for (int i = 0; i < contender_count; ++i)
        if (contenders[i].hide_unified && hidden_mounts < 0) make_hidden_mounts();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    posix_spawn_file_actions_init(&no_streams);
    posix_spawn_file_actions_addopen(&no_streams, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&no_streams, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (jobs > 0) {
        for (int i = 0; i < contender_count; ++i)
            run_at_once(&contenders[i], rounds, jobs);
        return 0;
    }
    const struct timespec pause = {.tv_sec = pause_ms / 1000, .tv_nsec = pause_ms % 1000 * 1000000L};
    int order[MAX_CONTENDERS];
    for (int i = 0; i < contender_count; ++i)
        order[i] = i;
    srand(1);
    for (int round = -warm_up; round < rounds; ++round) {
        for (int i = contender_count - 1; i > 0; --i) { // nobody always runs in the wake of the same other
            const int other = rand() % (i + 1), mine = order[i];
            order[i] = order[other];
            order[other] = mine;
        }
        for (int i = 0; i < contender_count; ++i) {
            if (pause_ms > 0) nanosleep(&pause, NULL);
            run_once(&contenders[order[i]], round >= 0);
        }
    }
    return 0;
}
