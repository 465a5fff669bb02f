// coppice-supervisor: looks after one running instance. Started by `coppice run`, not by people.

#include "coppice/instance/protocol.h"
#include "coppice/instance/supervisor.h"
#include "coppice/os/executable.h"

#include <cstdio>
#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int /*count*/, char** arguments)
{
    ::prctl(PR_SET_NAME, "coppice-superv"); // 15 characters are all that the kernel keeps
    // Whoever made us may have had no way to do that: processes of the instance can reach our file.
    if (const auto safe = coppice::os::protect_own_executable(arguments, environ); !safe) {
        std::fprintf(stderr, "coppice-supervisor: %s\n", safe.error().line().c_str());
        return 1;
    }
    if (::fcntl(coppice::instance::kSupervisorSocket, F_SETFD, FD_CLOEXEC) < 0) {
        std::fputs("coppice-supervisor: started by hand; use: coppice run\n", stderr);
        return 2;
    }
    return coppice::instance::supervise(coppice::os::Fd{coppice::instance::kSupervisorSocket});
}
