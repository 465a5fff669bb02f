#include "watchers.h"

#include "coppice/os/file.h"

#include <cerrno>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <vector>

namespace coppice::instance {

namespace {

constexpr int kPatienceMs = 1000;

struct Pair {
    os::Fd ours, theirs;
};

Result<Pair> make_stream()
{
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
        return fail_os(errno, "make a stream");
    Pair pair{.ours = os::Fd{ends[0]}, .theirs = os::Fd{ends[1]}};
    if (::fcntl(ends[1], F_SETFL, 0) < 0) return fail_os(errno, "make a stream"); // only we must not wait
    return pair;
}

bool has_gone(const os::Fd& socket)
{
    pollfd look{.fd = socket.get(), .events = 0, .revents = 0};
    return ::poll(&look, 1, 0) > 0; // only a hang-up is told when nothing is asked for
}

/// False when nobody reads.
bool write_patiently(const os::Fd& stream, std::string_view text)
{
    while (!text.empty()) {
        const auto sent = os::retry_eintr([&] { return ::send(stream.get(), text.data(), text.size(), MSG_NOSIGNAL); });
        if (sent > 0) {
            text.remove_prefix(static_cast<std::size_t>(sent));
            continue;
        }
        if (errno != EAGAIN) return false;
        pollfd waiting{.fd = stream.get(), .events = POLLOUT, .revents = 0};
        if (os::retry_eintr([&] { return ::poll(&waiting, 1, kPatienceMs); }) <= 0) return false;
    }
    return true;
}

} // namespace

Result<> Watchers::add(os::Fd socket, bool with_streams, bool with_terminal, const os::Fd& input)
{
    std::erase_if(all_, [](const Watcher& watcher) { return has_gone(watcher.socket); });
    std::vector<int> given;
    Pair output, errors;
    if (with_streams) {
        output = TRY(make_stream());
        given.push_back(output.theirs.get());
        if (!with_terminal) {
            errors = TRY(make_stream());
            given.push_back(errors.theirs.get());
        }
        if (input.is_open()) given.push_back(input.get());
    }
    TRY(say(socket, Say::Attached, with_terminal ? kAttachTerminal : std::string_view{}, given));
    all_.push_back({.socket = std::move(socket), .output = std::move(output.ours), .errors = std::move(errors.ours)});
    return {};
}

void Watchers::show(LogStream stream, std::string_view text)
{
    for (Watcher& watcher : all_) {
        os::Fd& target = stream == LogStream::Out || !watcher.errors.is_open() ? watcher.output : watcher.errors;
        if (target.is_open() && !write_patiently(target, text)) target.reset();
    }
}

void Watchers::tell(Say word, std::string_view text)
{
    for (Watcher& watcher : all_) {
        watcher.output.reset(); // it reads what is there to the end first
        watcher.errors.reset();
    }
    std::erase_if(all_, [&](const Watcher& watcher) { return !say(watcher.socket, word, text); });
}

} // namespace coppice::instance
