#include "output_log.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

namespace coppice::instance {

namespace {

/// @returns the end to read
Result<os::Fd> put_pipe_at(int fd)
{
    std::array<int, 2> ends{-1, -1};
    if (::pipe2(ends.data(), O_CLOEXEC) < 0) return fail_os(errno, "create a pipe");
    os::Fd reading{ends[0]};
    const os::Fd writing{ends[1]};
    if (::dup2(writing.get(), fd) < 0) return fail_os(errno, "redirect the output");
    return reading;
}

} // namespace

Result<> OutputLog::redirect()
{
    for (Source& source : sources_)
        source.fd = TRY(put_pipe_at(source.stream == LogStream::Out ? STDOUT_FILENO : STDERR_FILENO));
    return {};
}

Result<> OutputLog::open(int directory, const LogLimits& limits, os::Fd terminal, Show show)
{
    show_ = std::move(show);
    log_ = TRY(LogFile::open(directory, limits));
    if (terminal.is_open()) sources_.front().fd = std::move(terminal);
    return {};
}

Result<> OutputLog::watch(os::EventLoop& loop)
{
    for (Source& source : sources_)
        if (source.fd.is_open()) TRY(loop.add(source.fd, EPOLLIN, [this, &source](std::uint32_t) { keep(source); }));
    return {};
}

void OutputLog::drain()
{
    for (Source& source : sources_) {
        if (!source.fd.is_open()) continue;
        // All that could write has ended. Who else has it open, on the host, is not waited for.
        if (const int flags = ::fcntl(source.fd.get(), F_GETFL); flags >= 0)
            (void)::fcntl(source.fd.get(), F_SETFL, flags | O_NONBLOCK);
        while (source.fd.is_open())
            keep(source);
    }
}

void OutputLog::keep(Source& source)
{
    std::array<char, 65536> buffer{};
    const auto got = os::retry_eintr([&] { return ::read(source.fd.get(), buffer.data(), buffer.size()); });
    if (got <= 0) { // the end of a pipe, nothing more at the end of the instance, or EIO of a terminal that nobody has
                    // open any more
        source.fd.reset(); // epoll forgets a closed descriptor by itself
        return;
    }
    const std::string_view text{buffer.data(), static_cast<std::size_t>(got)};
    // A full disk must not stop the instance: its output is lost, its work is not.
    if (log_) [[maybe_unused]]
        const auto kept = log_->append(source.stream, text);
    if (show_) show_(source.stream, text);
}

} // namespace coppice::instance
