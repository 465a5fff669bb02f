// coppice-supervisor: looks after one running instance. Started by `coppice run`, not by people.

#include "../protocol.h"
#include "coppice/instance/supervisor.h"

#include <cstdio>
#include <fcntl.h>
#include <sys/prctl.h>

int main()
{
    ::prctl(PR_SET_NAME, "coppice-superv"); // 15 characters are all that the kernel keeps
    if (::fcntl(coppice::instance::kSupervisorSocket, F_SETFD, FD_CLOEXEC) < 0) {
        std::fputs("coppice-supervisor: started by hand; use: coppice run\n", stderr);
        return 2;
    }
    return coppice::instance::supervise(coppice::os::Fd{coppice::instance::kSupervisorSocket});
}
