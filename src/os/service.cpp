#include "coppice/os/service.h"

#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "coppice/os/unix_socket.h"

#include <cstdlib>
#include <fcntl.h>
#include <unistd.h>

namespace coppice::os {

std::string notify_socket()
{
    const char* const value = std::getenv("NOTIFY_SOCKET");
    return value == nullptr ? "" : value;
}

Result<> notify_manager(std::string_view assignments)
{
    const std::string path = notify_socket();
    if (path.empty()) return {};
    constexpr int kPatienceMs = 5'000;
    const auto socket = TRY_DOING("NOTIFY_SOCKET", connect_datagrams(path, kPatienceMs));
    return with_context(send_message(socket, assignments), "NOTIFY_SOCKET");
}

Result<std::vector<Fd>> take_listening_sockets()
{
    constexpr int kFirst = 3;
    constexpr int kMost = 16;
    const char* const pid = std::getenv("LISTEN_PID");
    const char* const count = std::getenv("LISTEN_FDS");
    const bool ours = pid != nullptr && count != nullptr && pid == std::to_string(::getpid());
    const std::string number = ours ? count : "0";
    for (const char* const name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"})
        ::unsetenv(name);
    const auto sockets = TRY_DOING("LISTEN_FDS", parse_integer(number, 0, kMost));
    std::vector<Fd> taken;
    for (int fd = kFirst; fd < kFirst + sockets; ++fd) {
        if (::fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) return fail_os(errno, cat("LISTEN_FDS: descriptor ", fd));
        taken.emplace_back(fd);
    }
    return taken;
}

} // namespace coppice::os
