#include "notify.h"

#include "coppice/base/environment.h"
#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/service.h"
#include "coppice/os/unix_socket.h"
#include "coppice/runtime/container.h"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

namespace coppice::runtime_program {

namespace {

constexpr const char* kSocket = "notify/notify.sock"; // in the container's state
constexpr const char* kInside = "/run/notify";

/// The caller closes its copy of the pipe when it has read everything before. Source: sd_notify_barrier(3)
Result<os::Fd> send_barrier(const os::Fd& caller)
{
    std::array<int, 2> ends{-1, -1};
    if (::pipe2(ends.data(), O_CLOEXEC) < 0) return fail_os(errno, "create a pipe");
    os::Fd reading{ends[0]};
    const os::Fd writing{ends[1]};
    TRY(os::send_message(caller, "BARRIER=1", {writing.get()}));
    return reading;
}

} // namespace

void add_notify_socket(runtime::Spec& spec, const std::string& state_root, const std::string& id)
{
    spec.mounts.push_back({.destination = kInside,
                           .type = "bind",
                           .source = cat(state_root, '/', id, '/', runtime::kNotifyDirectory),
                           .options = {"bind", "nosuid", "noexec", "nodev", "ro"},
                           .mapping = {}});
    if (spec.process) set_variable(spec.process->env, cat("NOTIFY_SOCKET=", kInside, "/notify.sock"));
}

Result<std::optional<NotifyProxy>> NotifyProxy::listen(const runtime::StateRoot& root, const std::string& id)
{
    const std::string caller = os::notify_socket();
    if (caller.empty()) return std::optional<NotifyProxy>{};
    const auto directory = TRY(root.find(id));
    if (!os::exists(directory.fd().get(), runtime::kNotifyDirectory)) return std::optional<NotifyProxy>{};
    TRY(os::remove_file(directory.fd().get(), kSocket)); // of a start that failed
    auto socket = TRY(os::bind_datagrams_in(directory.fd().get(), kSocket));
    // Whoever the program inside runs as may write to it; others cannot reach it in this directory.
    if (::fchmodat(directory.fd().get(), kSocket, 0777, 0) < 0) return fail_os(errno, "open the notify socket to all");
    return std::optional{NotifyProxy{std::move(socket), caller}};
}

Result<std::optional<os::Fd>> NotifyProxy::forward(pid_t pid) const
{
    constexpr std::size_t kMostBytes = 4096;
    const auto message = os::receive_message(socket_, kMostBytes);
    // Too long to be meant for us: the container does not decide whether we go on.
    if (!message && message.error().kind() == ErrorKind::Invalid) return std::optional<os::Fd>{};
    if (!message) return fail(message.error());
    std::string ready;
    for (const auto line : split(message->bytes, '\n'))
        if (line.starts_with("READY=")) ready = line;
    if (ready.empty()) return std::optional<os::Fd>{}; // status words and descriptors are the container's own matter
    constexpr int kPatienceMs = 5'000;
    const auto caller = TRY_DOING("NOTIFY_SOCKET", os::connect_datagrams(caller_, kPatienceMs));
    TRY_DOING("NOTIFY_SOCKET", os::send_message(caller, ready + '\n'));
    TRY_DOING("NOTIFY_SOCKET", os::send_message(caller, cat("MAINPID=", pid, '\n')));
    return std::optional{TRY_DOING("NOTIFY_SOCKET", send_barrier(caller))};
}

Result<> NotifyProxy::forward_until_ready(const os::Fd& process, pid_t pid) const
{
    std::array<pollfd, 2> waiting{
        {{.fd = socket_.get(), .events = POLLIN, .revents = 0}, {.fd = process.get(), .events = POLLIN, .revents = 0}}};
    for (;;) {
        if (os::retry_eintr([&] { return ::poll(waiting.data(), waiting.size(), -1); }) < 0)
            return fail_os(errno, "wait for the container to be ready");
        if (waiting[0].revents != 0) {
            const auto barrier = forward(pid);
            if (!barrier) log::warn("notify", barrier.error().line()); // the container runs nevertheless
            if (barrier && *barrier) wait_for_caller(**barrier);
            if (!barrier || *barrier) return {};
        }
        if (waiting[1].revents != 0) return {}; // it has ended without having been ready
    }
}

void wait_for_caller(const os::Fd& barrier)
{
    constexpr int kPatienceMs = 30'000;
    pollfd waiting{.fd = barrier.get(), .events = POLLIN, .revents = 0};
    if (os::retry_eintr([&] { return ::poll(&waiting, 1, kPatienceMs); }) == 0)
        log::warn("notify", "nobody acknowledged that the container is ready");
}

} // namespace coppice::runtime_program
