#include "daemon_link.h"

#include "coppice/base/text.h"
#include "coppice/os/event_loop.h"
#include "coppice/os/executable.h"
#include "coppice/os/file.h"
#include "coppice/os/lock.h"
#include "coppice/os/process.h"
#include "coppice/os/unix_socket.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdlib>
#include <thread>
#include <unistd.h>

namespace coppice::cli {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kStartPatience{60};
constexpr std::chrono::milliseconds kPause{10};
constexpr const char* kUnit = "coppiced.socket";
constexpr std::uint64_t kLogMostBytes = 1U << 20;

/// The daemon works in another directory than we do.
std::string absolute(const std::string& path)
{
    if (path.starts_with('/')) return path;
    std::array<char, PATH_MAX> here{};
    return ::getcwd(here.data(), here.size()) == nullptr ? path : cat(here.data(), '/', path);
}

std::string socket_of(const GlobalOptions& global)
{
    return global.socket.empty() ? api::default_socket(global.root) : global.socket;
}

/// Whether somebody answers; an error that says more than "nobody" counts as yes: the call will meet it again. (To
/// connect is not enough: the socket of a daemon that was killed takes connections until its process is gone.)
bool is_listening(const std::string& socket)
{
    const auto answer = api::Client{socket}.call({.target = "/v1"});
    return answer || !(api::is_unreachable(answer.error()) || answer.error().kind() == ErrorKind::Gone);
}

bool systemd_has_a_unit()
{
    if (!os::exists(os::kCwd, "/run/systemd/system")) return false;
    for (const char* const place : {"/etc/systemd/system/", "/run/systemd/system/", "/usr/local/lib/systemd/system/",
                                    "/usr/lib/systemd/system/", "/lib/systemd/system/"})
        if (os::exists(os::kCwd, cat(place, kUnit))) return true;
    return false;
}

/// A starting daemon, and where in its log it began to speak.
struct Starting {
    os::Process process;
    std::string log;
    off_t log_begin = 0;
};

Result<Starting> spawn(const std::string& root, const std::string& socket)
{
    const auto program = TRY(os::find_companion("coppiced"));
    const std::string log = cat(root, "/daemon/coppiced.log");
    const auto size = TRY(os::find_status(os::kCwd, log));
    if (size && static_cast<std::uint64_t>(size->st_size) > kLogMostBytes &&
        ::rename(log.c_str(), cat(log, ".1").c_str()) < 0)
        return fail_os(errno, cat("rename ", log));
    const auto output = TRY(os::open_at(os::kCwd, log, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600));
    const auto null = TRY(os::open_at(os::kCwd, "/dev/null", O_RDWR));
    const off_t begin = ::lseek(output.get(), 0, SEEK_END);
    auto process = TRY(os::fork_process({}, [&] {
        ::setsid(); // it belongs to no terminal
        os::reset_signals();
        ::dup2(null.get(), STDIN_FILENO);
        for (const int fd : {STDOUT_FILENO, STDERR_FILENO})
            ::dup2(output.get(), fd);
        for (const char* const name : {"NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"})
            ::unsetenv(name); // our caller's, if any, are not the daemon's
        [[maybe_unused]] const auto closing = os::mark_cloexec_from(3);
        if (::chdir("/") < 0) return 1;
        std::array<const char*, 6> args{"coppiced", "--root", root.c_str(), "--socket", socket.c_str(), nullptr};
        ::execve(program.c_str(), const_cast<char* const*>(args.data()), environ);
        return 127;
    }));
    return Starting{.process = std::move(process), .log = log, .log_begin = begin};
}

/// What the daemon said last, in one line.
std::string last_words(const Starting& starting)
{
    const auto log = os::read_file(os::kCwd, starting.log);
    if (!log || log->size() <= static_cast<std::size_t>(starting.log_begin)) return "it said nothing";
    std::string said = log->substr(static_cast<std::size_t>(starting.log_begin));
    while (said.ends_with('\n'))
        said.pop_back();
    said.erase(0, said.rfind('\n') + 1);
    constexpr std::string_view kName = "coppiced: ";
    return said.starts_with(kName) ? said.substr(kName.size()) : said;
}

Error not_ready(const Starting& starting, std::string_view how)
{
    return Error{ErrorKind::Unavailable, cat("coppiced ", how, ": ", last_words(starting))}.hint(
        cat("its messages are in ", starting.log));
}

Result<> start(const std::string& root, const std::string& socket)
{
    TRY_DOING("start coppiced", os::make_directories(root, 0711));
    TRY_DOING("start coppiced", os::make_directories(root + "/daemon", 0700));
    const auto deadline = Clock::now() + kStartPatience;
    std::optional<os::FileLock> lock; // held by whoever is starting one
    while (!lock) {
        lock = TRY_DOING("start coppiced", os::FileLock::try_take(os::kCwd, root + "/daemon/start.lock"));
        if (is_listening(socket)) return {};
        if (!lock && Clock::now() > deadline)
            return fail(ErrorKind::Unavailable, "another coppice has been starting coppiced for a minute");
        if (!lock) std::this_thread::sleep_for(kPause);
    }
    // One that is ending listens no more, but holds its store until all that it does has stopped.
    while (!TRY_DOING("start coppiced", os::FileLock::try_take(os::kCwd, root + "/daemon/lock"))) {
        if (is_listening(socket)) return {};
        if (Clock::now() > deadline)
            return fail(ErrorKind::Unavailable, "a coppiced that does not answer has been ending for a minute");
        std::this_thread::sleep_for(kPause);
    }
    auto starting = TRY_DOING("start coppiced", spawn(root, socket));
    while (!is_listening(socket)) {
        const auto ended = TRY(starting.process.poll());
        if (ended && is_listening(socket)) return {}; // somebody else's was quicker
        if (ended) return fail(not_ready(starting, "did not start"));
        if (Clock::now() > deadline) return fail(not_ready(starting, "was not ready within a minute"));
        std::this_thread::sleep_for(kPause);
    }
    starting.process.detach();
    return {};
}

} // namespace

api::Client running_daemon(const GlobalOptions& global) { return api::Client{socket_of(global)}; }

Result<api::Client> reach_daemon(const GlobalOptions& global)
{
    auto client = running_daemon(global);
    if (is_listening(client.socket()) || !global.socket.empty()) return client;
    if (global.root == api::kDefaultRoot && systemd_has_a_unit())
        return fail(
            Error{ErrorKind::Unavailable, cat("cannot reach coppiced: nobody listens at ", client.socket())}.hint(
                cat("start it with: systemctl enable --now ", kUnit)));
    TRY(need_root("starting coppiced"));
    const std::string root = absolute(global.root);
    TRY(start(root, absolute(client.socket())));
    return client;
}

} // namespace coppice::cli
