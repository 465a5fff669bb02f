#include "coppice/os/directory_watch.h"

#include "coppice/os/file.h"

#include <array>
#include <cerrno>
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

namespace coppice::os {

Result<DirectoryWatch> DirectoryWatch::open(int directory)
{
    Fd fd{::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)};
    if (!fd.is_open()) return fail_os(errno, "watch a directory");
    constexpr std::uint32_t kEvents = IN_MODIFY | IN_CREATE | IN_DELETE | IN_MOVE | IN_CLOSE_WRITE;
    if (::inotify_add_watch(fd.get(), path_of(directory).c_str(), kEvents) < 0)
        return fail_os(errno, "watch a directory");
    return DirectoryWatch{std::move(fd)};
}

Result<> DirectoryWatch::wait(int milliseconds)
{
    pollfd waiting{.fd = fd_.get(), .events = POLLIN, .revents = 0};
    if (::poll(&waiting, 1, milliseconds) < 0 && errno != EINTR) return fail_os(errno, "wait for a directory");
    alignas(inotify_event) std::array<char, 4096> events;
    while (::read(fd_.get(), events.data(), events.size()) > 0) { // what counts is that there was something
    }
    return {};
}

} // namespace coppice::os
