// Started by process_test.cpp: [protect|plain] READY-FILE. Says by making the file that it runs, and waits.

#include "coppice/os/executable.h"

#include <cstring>
#include <fcntl.h>
#include <unistd.h>

int main(int argc, char** argv)
{
    if (argc != 3) return 2;
    if (std::strcmp(argv[1], "protect") == 0 && !coppice::os::protect_own_executable(argv, environ)) return 3;
    ::close(::open(argv[2], O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    ::alarm(60); // whoever started it may have died
    ::pause();
}
