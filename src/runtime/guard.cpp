#include "guard.h"

#include "coppice/os/file.h"
#include "coppice/runtime/container.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <unistd.h>

namespace coppice::runtime {

namespace {

int watch(const os::Fd& pipe, const StateRoot& root, const StateRecord& record)
{
    // A session of its own: a Ctrl-C for the creator's terminal is not for the guard. No stream of the creator stays
    // open here, or whoever reads its output would wait for us.
    ::setsid();
    sigset_t all;
    ::sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, nullptr);
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
        if (fd != pipe.get() && fd != root.fd().get()) ::close(fd);
    char word = 0;
    const auto got = os::retry_eintr([&] { return ::read(pipe.get(), &word, 1); });
    if (got == 1) return 0;
    // The lock of the creation is free as soon as its init has run its first lines.
    const auto directory = root.find(record.id);
    const auto lock = directory ? os::FileLock::take(directory->fd().get(), kLockFile)
                                : Result<os::FileLock>{std::unexpect, directory.error()};
    // Nobody is left to hear of an error here: what this cannot remove, `delete --force` and `doctor` still find.
    return discard(root, record) ? 0 : 1;
}

} // namespace

Result<CreationGuard> CreationGuard::begin(const StateRoot& root, const StateRecord& record)
{
    std::array<int, 2> ends{-1, -1};
    if (::pipe2(ends.data(), O_CLOEXEC) < 0) return fail_os(errno, "create a pipe");
    os::Fd reading{ends[0]};
    os::Fd writing{ends[1]};
    auto process = TRY(os::fork_process({}, [&] {
        writing.reset();
        return watch(reading, root, record);
    }));
    return CreationGuard{std::move(process), std::move(writing)};
}

void CreationGuard::release()
{
    const char done = 'd';
    [[maybe_unused]] const auto written = ::write(pipe_.get(), &done, 1);
    [[maybe_unused]] const auto status = process_.wait();
}

void CreationGuard::forget_in_child()
{
    (void)process_.detach();
    pipe_.reset();
}

} // namespace coppice::runtime
