#include "program.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <poll.h>
#include <unistd.h>

namespace coppice::imports {

namespace {

constexpr off_t kLastWordsBytes = 4096;
constexpr int kPauseMilliseconds = 200;
constexpr std::string_view kTarsSummary = "tar: Exiting with failure status due to previous errors"; // says nothing

/// The last line that is not empty.
Result<std::string> last_line(const os::Fd& file)
{
    const auto end = ::lseek(file.get(), 0, SEEK_END);
    if (end < 0) return fail_os(errno, "read a program's messages");
    std::string text(static_cast<std::size_t>(std::min(end, kLastWordsBytes)), '\0');
    const auto got = ::pread(file.get(), text.data(), text.size(), end - static_cast<off_t>(text.size()));
    if (got < 0) return fail_os(errno, "read a program's messages");
    text.resize(static_cast<std::size_t>(got));
    const auto cut = [&](std::string_view words) {
        if (!text.ends_with(words)) return false;
        text.resize(text.size() - words.size());
        return true;
    };
    while (cut("\n") || cut(kTarsSummary)) {
    }
    return printable(text.substr(text.rfind('\n') + 1)); // npos + 1 is 0
}

} // namespace

Program::Program(os::Process process, os::Fd output, os::Fd errors, const ProgramOptions& options, std::stop_token stop)
    : process_{std::move(process)}, output_{std::move(output)}, errors_{std::move(errors)},
      name_{options.arguments.front()}, watch_{options.watch}, grace_{options.grace}, stop_{std::move(stop)}
{
    on_stop_.emplace(stop_, [this] { end(SIGTERM); });
}

void Program::end(int signal)
{
    const std::lock_guard lock{mutex_};
    if (!over_) os::end_group(process_, signal);
    is_to_end_ = true;
}

Program::~Program()
{
    on_stop_.reset();
    end(SIGKILL);
}

Result<std::unique_ptr<Program>> Program::start(const ProgramOptions& options, const Context& context)
{
    TRY(check_stop(context.stop));
    auto errors = TRY(os::open_at(context.spool, ".", O_TMPFILE | O_RDWR, 0600));
    os::Fd ours, theirs;
    if (options.has_output) {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) < 0) return fail_os(errno, "make a pipe");
        ours = os::Fd{ends[0]};
        theirs = os::Fd{ends[1]};
    }
    const std::string& name = options.arguments.front();
    auto process = os::spawn({.arguments = options.arguments,
                              .more_variables = {"LC_ALL=C.UTF-8"},
                              .output = theirs.get(),
                              .error = errors.get(),
                              .further = options.further});
    if (!process) {
        if (process.error().kind() != ErrorKind::NotFound || options.package.empty())
            return fail(std::move(process).error());
        return fail(Error{ErrorKind::NotFound, cat("the program ", name, " is not installed")}.hint(
            cat("install the package ", options.package)));
    }
    return std::unique_ptr<Program>{
        new Program{*std::move(process), std::move(ours), std::move(errors), options, context.stop}};
}

/// Until it is over, in one way or the other. Errors: those of the watch
Result<> Program::wait()
{
    using Clock = std::chrono::steady_clock;
    pollfd wanted{.fd = process_.pidfd().get(), .events = POLLIN, .revents = 0};
    Result<> watched;
    std::optional<Clock::time_point> deadline;
    for (;;) {
        const int ready = os::retry_eintr([&] { return ::poll(&wanted, 1, kPauseMilliseconds); });
        if (ready < 0) return fail_os(errno, cat("wait for ", name_));
        if (watch_ && watched) watched = watch_();
        if (ready > 0) return watched;
        if (!watched && !is_to_end_) end(SIGTERM);
        if (is_to_end_ && !deadline) deadline = Clock::now() + grace_;
        if (deadline && Clock::now() > *deadline) end(SIGKILL);
    }
}

Result<Program::Ended> Program::finish()
{
    const auto waited = wait();
    Ended ended;
    {
        // What it has left behind keeps its group: that number is nobody else's before it is waited for.
        const std::lock_guard lock{mutex_};
        os::end_group(process_, SIGKILL);
        over_ = true;
        ended.status = TRY(process_.wait());
    }
    TRY(check_stop(stop_));
    TRY(waited);
    ended.last_words = TRY(last_line(errors_));
    return ended;
}

Result<> check_ended(const Program::Ended& ended, std::string_view name)
{
    if (ended.status.code == 0) return {};
    return fail(ErrorKind::Os, cat(name, ended.status.by_signal ? " was ended by signal " : " ended with ",
                                   ended.status.by_signal ? ended.status.code - 128 : ended.status.code,
                                   ended.last_words.empty() ? "" : ": ", ended.last_words));
}

Result<> run_program(const ProgramOptions& options, const Context& context)
{
    const auto program = TRY(Program::start(options, context));
    return check_ended(TRY(program->finish()), options.arguments.front());
}

} // namespace coppice::imports
