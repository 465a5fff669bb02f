#include "coppice/os/fd.h"

#include "coppice/os/syscalls.h"

#include <fcntl.h>
#include <unistd.h>

namespace coppice::os {

void Fd::reset()
{
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

Result<Fd> Fd::duplicate() const
{
    Fd copy{::fcntl(fd_, F_DUPFD_CLOEXEC, 3)};
    if (!copy.is_open()) return fail_os(errno, "duplicate a file descriptor");
    return copy;
}

Result<> close_from(unsigned first)
{
    if (sys::close_range(first, ~0U, 0) < 0) return fail_os(errno, "close_range");
    return {};
}

Result<> mark_cloexec_from(unsigned first)
{
    if (sys::close_range(first, ~0U, sys::kCloseRangeCloexec) < 0) return fail_os(errno, "close_range");
    return {};
}

} // namespace coppice::os
