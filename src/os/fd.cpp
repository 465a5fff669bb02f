#include "coppice/os/fd.h"

#include "coppice/os/syscalls.h"

#include <algorithm>
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

Result<> close_all_but(unsigned first, std::vector<int> keep)
{
    std::sort(keep.begin(), keep.end());
    unsigned next = first;
    for (const int fd : keep) {
        if (fd < 0 || static_cast<unsigned>(fd) < next) continue;
        const auto kept = static_cast<unsigned>(fd);
        if (kept > next && sys::close_range(next, kept - 1, 0) < 0) return fail_os(errno, "close_range");
        next = kept + 1;
    }
    return close_from(next);
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
