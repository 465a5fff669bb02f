#pragma once

#include "coppice/os/fd.h"

#include <string>
#include <string_view>
#include <sys/types.h>
#include <utility>
#include <vector>

/// AF_UNIX sockets: messages with descriptors (SOCK_SEQPACKET), streams, datagrams. Source: unix(7)
namespace coppice::os {

struct Message {
    std::string bytes;
    std::vector<Fd> fds;
    [[nodiscard]] bool is_end() const { return bytes.empty() && fds.empty(); }
};

Result<std::pair<Fd, Fd>> socket_pair();

/// A listening socket named `name` in the directory `dir` (0600 by the directory's own mode).
Result<Fd> listen_in(int dir, const std::string& name);
/// Errors: NotFound (no such name), Conflict (nobody listens there any more)
/// @param wait_ms for room in the listener's queue; a queue that stays full is an error with EAGAIN
Result<Fd> connect_in(int dir, const std::string& name, int wait_ms);
/// A stream connection to a path that a caller gave, as the OCI console socket; however long the path is.
/// Errors: NotFound (no such name), Conflict (nobody listens there any more), Unavailable (its queue is full)
/// @param wait for room in the listener's queue
Result<Fd> connect_stream(const std::string& path, bool wait = true);
/// A listening stream socket at `path`, which must not exist; nobody can connect before it has `mode`.
Result<Fd> listen_stream(const std::string& path, mode_t mode);

/// Who is at the other end of a connected stream: what the kernel saw when it connected. Source: SO_PEERCRED, unix(7)
struct Peer {
    uid_t uid = 0;
    gid_t gid = 0;
    pid_t pid = 0;
};
Result<Peer> peer_of(int socket);

/// A socket for single datagrams, receiving at a name in `dir`, or sending to a path (one that begins with '@' is in
/// the abstract name space). Source: sd_notify(3)
Result<Fd> bind_datagrams_in(int dir, const std::string& name);
/// @param wait_ms for room in the receiver's queue, at each message; a queue that stays full is an error with EAGAIN
Result<Fd> connect_datagrams(const std::string& path, int wait_ms);
Result<Fd> accept_from(const Fd& listener);

/// Sends one message with up to 250 descriptors. Never raises SIGPIPE. Blocks while the peer's queue is full.
Result<> send_message(const Fd& socket, std::string_view bytes, const std::vector<int>& fds = {});
/// Next message; `is_end()` when the peer has gone. At most `most` bytes. Blocks.
Result<Message> receive_message(const Fd& socket, std::size_t most = 64U << 10);
/// Waits for a message or the end of the peer; false when the time ran out.
Result<bool> wait_for_message(const Fd& socket, int milliseconds);

} // namespace coppice::os
