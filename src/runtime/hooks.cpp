#include "hooks.h"

#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/os/event_loop.h"
#include "coppice/os/file.h"
#include "coppice/os/process.h"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

namespace coppice::runtime {

namespace {

std::vector<char*> pointers(const std::vector<std::string>& texts)
{
    std::vector<char*> all;
    all.reserve(texts.size() + 1);
    for (const std::string& text : texts)
        all.push_back(const_cast<char*>(text.c_str()));
    all.push_back(nullptr);
    return all;
}

/// The state as a file: a hook that does not read it, or reads it late, cannot block or kill us.
Result<os::Fd> state_file(const std::string& state_json)
{
    os::Fd file{::memfd_create("coppice-state", MFD_CLOEXEC)};
    if (!file.is_open()) return fail_os(errno, "create memory for a hook's input");
    TRY(os::write_all(file.get(), state_json, "a hook's input"));
    if (::lseek(file.get(), 0, SEEK_SET) < 0) return fail_os(errno, "rewind a hook's input");
    return file;
}

Result<> run_hook(const Hook& hook, const std::string& state_json)
{
    const auto input = TRY(state_file(state_json));
    const auto& words = hook.args.empty() ? std::vector{hook.path} : hook.args; // lives as long as its name
    const auto args = pointers(words);
    const auto env = pointers(hook.env);
    std::array<int, 2> ends{-1, -1};
    if (::pipe2(ends.data(), O_CLOEXEC) < 0) return fail_os(errno, "create a pipe");
    const os::Fd reading{ends[0]};
    os::Fd writing{ends[1]};
    auto process = TRY(os::fork_process({}, [&] {
        os::reset_signals();
        ::dup2(input.get(), STDIN_FILENO);
        // What the caller hands on (--preserve-fds, LISTEN_FDS) is for the container's process alone.
        if (os::mark_cloexec_from(STDERR_FILENO + 1)) ::execve(hook.path.c_str(), args.data(), env.data());
        const int number = errno;
        return ::write(writing.get(), &number, sizeof number) == sizeof number ? 127 : 1;
    }));
    writing.reset();
    int number = 0; // an executed program has closed the pipe
    if (os::retry_eintr([&] { return ::read(reading.get(), &number, sizeof number); }) == sizeof number)
        return fail_os(number, cat("execute ", hook.path));
    if (hook.timeout_seconds) {
        pollfd waiting{.fd = process.pidfd().get(), .events = POLLIN, .revents = 0};
        const int ready = os::retry_eintr([&] { return ::poll(&waiting, 1, *hook.timeout_seconds * 1000); });
        if (ready == 0)
            return fail(ErrorKind::Unavailable, cat(hook.path, " did not end within ", *hook.timeout_seconds, " s"));
    }
    const auto status = TRY(process.wait());
    if (status.code != 0) return fail(ErrorKind::Unavailable, cat(hook.path, " ended with status ", status.code));
    return {};
}

} // namespace

Result<> run_hooks(const std::vector<Hook>& hooks, const char* point, const std::string& state_json)
{
    for (const Hook& hook : hooks)
        TRY_DOING(cat(point, " hook"), run_hook(hook, state_json));
    return {};
}

void run_late_hooks(const std::vector<Hook>& hooks, const char* point, const std::string& state_json)
{
    for (const Hook& hook : hooks)
        if (const auto ran = run_hook(hook, state_json); !ran)
            log::warn("hooks", cat(point, " hook: ", ran.error().line()));
}

} // namespace coppice::runtime
