#include "coppice/os/unix_socket.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace coppice::os {

namespace {

constexpr std::size_t kMaxFds = 250; // the kernel's SCM_MAX_FD is 253

Result<sockaddr_un> address_of(const std::string& path)
{
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path)
        return fail(ErrorKind::Invalid, cat("the socket path ", path, " is longer than ", sizeof address.sun_path - 1));
    std::memcpy(address.sun_path, path.data(), path.size());
    return address;
}

struct Place {
    Fd directory;
    std::string name;
};
Result<Place> open_parent(const std::string& path)
{
    const auto slash = path.find_last_of('/');
    const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    auto directory = TRY(open_at(kCwd, parent, O_PATH | O_DIRECTORY));
    return Place{std::move(directory), slash == std::string::npos ? path : path.substr(slash + 1)};
}

/// Socket paths are short; going through the directory's descriptor keeps them short whatever the state root is.
std::string path_in(int dir, const std::string& name) { return cat("/proc/self/fd/", dir, '/', name); }

Result<Fd> new_socket(int type)
{
    Fd socket{::socket(AF_UNIX, type | SOCK_CLOEXEC, 0)};
    if (!socket.is_open()) return fail_os(errno, "create a socket");
    return socket;
}

Result<> limit_sending(const Fd& socket, int wait_ms)
{
    const timeval time{.tv_sec = wait_ms / 1000, .tv_usec = wait_ms % 1000 * 1000L};
    if (::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time) < 0)
        return fail_os(errno, "set a time limit");
    return {};
}

Result<> bind_to(const Fd& socket, const std::string& path, const std::string& shown)
{
    const auto address = TRY(address_of(path));
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0)
        return fail_os(errno, cat("create the socket ", shown));
    return {};
}

Result<> connect_to(const Fd& socket, const std::string& path, const std::string& shown)
{
    auto address = TRY(address_of(path));
    const bool abstract = path.starts_with('@');
    if (abstract) address.sun_path[0] = '\0';
    // The length counts in the abstract name space, where the name does not end with a NUL.
    const auto size = static_cast<socklen_t>(abstract ? offsetof(sockaddr_un, sun_path) + path.size() : sizeof address);
    if (retry_eintr([&] { return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), size); }) < 0) {
        Error error = Error::os(errno, cat("connect to ", shown));
        return fail(errno == ECONNREFUSED ? std::move(error).as(ErrorKind::Conflict) : std::move(error));
    }
    return {};
}

} // namespace

Result<std::pair<Fd, Fd>> socket_pair()
{
    std::array<int, 2> ends{-1, -1};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) < 0)
        return fail_os(errno, "create a socket pair");
    return std::pair{Fd{ends[0]}, Fd{ends[1]}};
}

Result<Fd> listen_in(int dir, const std::string& name)
{
    auto socket = TRY(new_socket(SOCK_SEQPACKET));
    TRY(bind_to(socket, path_in(dir, name), name));
    if (::listen(socket.get(), 8) < 0) return fail_os(errno, cat("listen on ", name));
    return socket;
}

Result<Fd> connect_in(int dir, const std::string& name, int wait_ms)
{
    auto socket = TRY(new_socket(SOCK_SEQPACKET | (wait_ms > 0 ? 0 : SOCK_NONBLOCK)));
    if (wait_ms > 0) TRY(limit_sending(socket, wait_ms));
    TRY(connect_to(socket, path_in(dir, name), name));
    return socket;
}

Result<Fd> connect_stream(const std::string& path, bool wait)
{
    auto socket = TRY(new_socket(SOCK_STREAM | (wait ? 0 : SOCK_NONBLOCK)));
    if (path.starts_with('@')) {
        TRY(connect_to(socket, path, path));
        return socket;
    }
    const auto place = TRY_DOING(cat("connect to ", path), open_parent(path));
    TRY(connect_to(socket, path_in(place.directory.get(), place.name), path));
    return socket;
}

Result<Fd> listen_stream(const std::string& path, mode_t mode)
{
    auto socket = TRY(new_socket(SOCK_STREAM));
    const auto place = TRY_DOING(cat("create the socket ", path), open_parent(path));
    // The path that was given is what others see as its address, where it fits.
    const bool fits = path.size() < sizeof(sockaddr_un::sun_path);
    TRY(bind_to(socket, fits ? path : path_in(place.directory.get(), place.name), path));
    if (::fchmodat(place.directory.get(), place.name.c_str(), mode, 0) < 0)
        return fail_os(errno, cat("set the mode of ", path));
    if (::listen(socket.get(), SOMAXCONN) < 0) return fail_os(errno, cat("listen on ", path));
    return socket;
}

Result<Peer> peer_of(int socket)
{
    ucred credentials{};
    socklen_t size = sizeof credentials;
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
        return fail_os(errno, "ask who is at the other end of a socket");
    return Peer{.uid = credentials.uid, .gid = credentials.gid, .pid = credentials.pid};
}

Result<Fd> bind_datagrams_in(int dir, const std::string& name)
{
    auto socket = TRY(new_socket(SOCK_DGRAM));
    TRY(bind_to(socket, path_in(dir, name), name));
    return socket;
}

Result<Fd> connect_datagrams(const std::string& path, int wait_ms)
{
    auto socket = TRY(new_socket(SOCK_DGRAM));
    TRY(limit_sending(socket, wait_ms));
    TRY(connect_to(socket, path, path));
    return socket;
}

Result<Fd> accept_from(const Fd& listener)
{
    Fd socket{retry_eintr([&] { return ::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC); })};
    if (!socket.is_open()) return fail_os(errno, "accept a connection");
    return socket;
}

Result<> send_message(const Fd& socket, std::string_view bytes, const std::vector<int>& fds)
{
    COPPICE_CHECK(fds.size() <= kMaxFds);
    iovec content{.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
    msghdr message{};
    message.msg_iov = &content;
    message.msg_iovlen = 1;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxFds * sizeof(int))> control{};
    if (!fds.empty()) {
        message.msg_control = control.data();
        message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
        cmsghdr* const header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
        std::memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
    }
    if (retry_eintr([&] { return ::sendmsg(socket.get(), &message, MSG_NOSIGNAL); }) < 0)
        return fail_os(errno, "send a message");
    return {};
}

Result<Message> receive_message(const Fd& socket, std::size_t most)
{
    Message received;
    const auto buffer =
        std::make_unique_for_overwrite<char[]>(most); // of a large one only what is written costs memory
    iovec content{.iov_base = buffer.get(), .iov_len = most};
    msghdr message{};
    message.msg_iov = &content;
    message.msg_iovlen = 1;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxFds * sizeof(int))> control{};
    message.msg_control = control.data();
    const auto receive = [&] {
        message.msg_controllen = control.size();
        return ::recvmsg(socket.get(), &message, MSG_CMSG_CLOEXEC);
    };
    auto got = retry_eintr(receive);
    if (got < 0 && errno == ECONNRESET) got = retry_eintr(receive); // what the peer said before it died comes after
    if (got < 0) {
        if (errno == ECONNRESET) return received; // the peer died with a message of ours unread: it has gone
        return fail_os(errno, "receive a message");
    }
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
            received.fds.emplace_back(fd);
        }
    }
    if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) return fail(ErrorKind::Invalid, "a message was too long");
    received.bytes.assign(buffer.get(), static_cast<std::size_t>(got));
    return received;
}

Result<bool> wait_for_message(const Fd& socket, int milliseconds)
{
    pollfd waiting{.fd = socket.get(), .events = POLLIN, .revents = 0};
    const int ready = retry_eintr([&] { return ::poll(&waiting, 1, milliseconds); });
    if (ready < 0) return fail_os(errno, "wait for a message");
    return ready > 0;
}

} // namespace coppice::os
