// What runs inside the instances of bench/instances.
//
// usage: guest first                  says when it began: ns of CLOCK_MONOTONIC
//        guest idle                   waits
//        guest fill MIB [sync] [idle] writes so much of what cannot be compressed below ./data; says "ready"; may sync it
//                                     before, and wait afterwards

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MIB = 1 << 20, FILE_MIB = 16 };

static uint64_t content[MIB / sizeof(uint64_t)];

static void die(const char* what)
{
    perror(what);
    exit(1);
}

static void fill(int mib)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t x = (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec; // nothing that is in a store already
    if (mkdir("data", 0755) < 0) die("data");
    int file = -1;
    for (int done = 0; done < mib; ++done) {
        if (done % FILE_MIB == 0) {
            char path[32];
            snprintf(path, sizeof path, "data/%d", done / FILE_MIB);
            if (file >= 0) close(file);
            file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
            if (file < 0) die(path);
        }
        for (size_t i = 0; i < sizeof content / sizeof *content; ++i) {
            x ^= x << 13;
            x ^= x >> 7;
            content[i] = x ^= x << 17;
        }
        if (write(file, content, MIB) != MIB) die("write");
    }
}

int main(int argc, char** argv)
{
    struct timespec began;
    clock_gettime(CLOCK_MONOTONIC, &began);
    if (argc < 2) return 2;
    if (strcmp(argv[1], "first") == 0) {
        printf("%lld\n", began.tv_sec * 1000000000LL + began.tv_nsec);
        return 0;
    }
    if (strcmp(argv[1], "fill") == 0 && argc > 2) fill(atoi(argv[2]));
    for (int i = 3; i < argc; ++i)
        if (strcmp(argv[i], "sync") == 0) sync();
    puts("ready");
    fflush(stdout);
    while (strcmp(argv[argc - 1], "idle") == 0)
        pause();
    return 0;
}
