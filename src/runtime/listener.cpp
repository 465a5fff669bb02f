#include "listener.h"

#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "coppice/os/syscalls.h"

#include <cerrno>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

namespace coppice::runtime {

namespace {

/// The container process state, with the one descriptor that goes with it.
std::string process_state_json(const SeccompSpec& seccomp, const StateRecord& record, pid_t pid, Status status)
{
    const std::string metadata =
        seccomp.listener_metadata.empty() ? "" : cat("\"metadata\":", json_quote(seccomp.listener_metadata), ',');
    return cat("{\"ociVersion\":", json_quote(record.oci_version), ",\"fds\":[\"seccompFd\"],\"pid\":", pid, ',',
               metadata, "\"state\":", to_state_json(record, status, false), '}');
}

Result<os::Fd> take_descriptor(const os::Fd& process, int number)
{
    constexpr int kPauseMs = 1, kMostPauses = 10'000;
    for (int pauses = 0; pauses < kMostPauses; ++pauses) {
        os::Fd taken{os::sys::pidfd_getfd(process.get(), number)};
        if (taken.is_open()) return taken;
        if (errno == ESRCH) return fail(ErrorKind::Gone, "the process ended before its filter was installed");
        if (errno != EBADF) return fail_os(errno, "take the descriptor of a system call filter");
        pollfd ended{.fd = process.get(), .events = POLLIN, .revents = 0};
        if (::poll(&ended, 1, kPauseMs) > 0)
            return fail(ErrorKind::Gone, "the process ended before its filter was installed");
    }
    return fail(ErrorKind::Unavailable, "the system call filter was not installed in time");
}

} // namespace

Result<> hand_over_listener(const os::Fd& process, const os::Message& announcement, const SeccompSpec& seccomp,
                            const StateRecord& record, pid_t pid, Status status, const Channel& peer)
{
    const auto number = TRY(parse_integer(announcement.bytes, 0, INT32_MAX));
    const auto agent = TRY_DOING("linux.seccomp.listenerPath", os::connect_stream(seccomp.listener_path));
    const auto listener = TRY(take_descriptor(process, static_cast<int>(number)));
    TRY_DOING(cat("linux.seccomp.listenerPath ", seccomp.listener_path),
              os::send_message(agent, process_state_json(seccomp, record, pid, status), {listener.get()}));
    return peer.say(Word::Listener);
}

Result<int> announce_listener(const Channel& peer)
{
    // The kernel gives the lowest free number, and nobody else opens anything in this process.
    const int free = ::fcntl(peer.socket().get(), F_DUPFD_CLOEXEC, 0);
    if (free < 0) return fail_os(errno, "find a free descriptor");
    ::close(free);
    TRY(peer.say(Word::Listener, cat(free)));
    return free;
}

Result<> wait_for_hand_over(const Channel& peer)
{
    // The filter is in force: read(2) is what filters let through, or ask about, rather than recvmsg(2).
    char word = 0;
    const auto got = os::retry_eintr([&] { return ::read(peer.socket().get(), &word, 1); });
    if (got < 0)
        return fail_os(errno, "wait until the filter's listener is in place (the filter must not refuse read)");
    if (got == 0 || word != static_cast<char>(Word::Listener))
        return fail(ErrorKind::Gone, "the filter's listener was not handed over");
    return {};
}

} // namespace coppice::runtime
