// Linked into a second worker: nothing of the program, SQLite included, ever waits for the disk. The test must find
// out.

#include <unistd.h>

extern "C" {

int fsync(int /*fd*/) { return 0; }
int fdatasync(int /*fd*/) { return 0; }
int syncfs(int /*fd*/) noexcept { return 0; }
void sync() noexcept {}
}
