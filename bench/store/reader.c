/* reader DIRECTORY walk|read: goes through a tree, with the status of everything; `read` also reads every file. Prints
 * seconds, processor seconds, how often it waited, entries, bytes. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    static char buffer[256 << 10];
    char *const roots[] = {argv[1], NULL};
    unsigned long entries = 0, bytes = 0;
    struct timespec begin, end;
    if (argc != 3) return 2;
    const int read_files = strcmp(argv[2], "read") == 0;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    FTS *const tree = fts_open(roots, FTS_PHYSICAL | FTS_XDEV, NULL);
    for (FTSENT *at; tree != NULL && (at = fts_read(tree)) != NULL;) {
        if (at->fts_info == FTS_DNR || at->fts_info == FTS_ERR || at->fts_info == FTS_NS) return 1;
        if (at->fts_info == FTS_DP) continue;
        ++entries;
        if (!read_files || at->fts_info != FTS_F) continue;
        const int file = open(at->fts_accpath, O_RDONLY | O_CLOEXEC);
        ssize_t got;
        if (file < 0) return 1;
        while ((got = read(file, buffer, sizeof buffer)) > 0)
            bytes += (unsigned long)got;
        if (got < 0) return 1;
        close(file);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    struct timespec cpu;
    struct rusage usage;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    getrusage(RUSAGE_SELF, &usage);
    printf("%.6f %.6f %ld %lu %lu\n", (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9,
           (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9, usage.ru_nvcsw, entries, bytes);
    return entries == 0;
}
