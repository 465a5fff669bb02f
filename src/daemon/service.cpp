#include "coppice/daemon/service.h"

#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/os/event_loop.h"
#include "coppice/os/file.h"
#include "coppice/os/lock.h"
#include "coppice/os/service.h"
#include "coppice/os/unix_socket.h"

#include <condition_variable>
#include <csignal>
#include <mutex>
#include <thread>
#include <unistd.h>

namespace coppice::daemon {

namespace {

/// A socket that goes with the daemon; the lock beside it says whose it is.
struct OwnSocket {
    std::string path;
    os::FileLock lock;
};

Result<os::FileLock> take_lock(const std::string& path, const std::string& complaint)
{
    auto lock = TRY(os::FileLock::try_take(os::kCwd, path));
    if (!lock) return fail(Error{ErrorKind::Conflict, complaint}.hint("see: coppice system info"));
    return *std::move(lock);
}

/// Makes the socket; one that a killed daemon left behind is in nobody's use, for its lock is free.
Result<std::pair<os::Fd, OwnSocket>> make_socket(const std::string& path)
{
    const auto slash = path.find_last_of('/');
    if (slash != std::string::npos && slash > 0) TRY(os::make_directories(path.substr(0, slash), 0755));
    auto lock = TRY(take_lock(path + ".lock", cat("another coppiced listens at ", path)));
    TRY(os::remove_file(os::kCwd, path));
    auto listener = TRY(os::listen_stream(path, 0600));
    return std::pair{std::move(listener), OwnSocket{.path = path, .lock = std::move(lock)}};
}

/// All parts, in the order in which they need each other: they go from the last to the first.
struct Parts {
    std::unique_ptr<OperationLog> log;
    std::unique_ptr<AnswerStore> answers;
    std::unique_ptr<EventHub> events;
    std::unique_ptr<Services> services;
    std::unique_ptr<Dispatcher> dispatcher;
    std::unique_ptr<Server> server;
    std::unique_ptr<Operations> operations; ///< goes first: its threads wake what the server waits for
};

/// All but the server.
Result<> assemble(Parts& parts, const DaemonOptions& options, instance::HostReport host, const MoreRoutes& more)
{
    const std::string directory = cat(options.root, '/', kDaemonDirectory, '/');
    parts.log = TRY(JournalOperationLog::open(directory + "operations.journal"));
    parts.answers = TRY(JournalAnswerStore::open(directory + "answers.journal"));
    parts.events = std::make_unique<EventHub>(options.events);
    parts.operations = TRY(Operations::open(*parts.log, *parts.events, options.operations));
    parts.services = std::make_unique<Services>(Services{.root = options.root,
                                                         .version = options.version,
                                                         .host = std::move(host),
                                                         .operations = *parts.operations,
                                                         .events = *parts.events,
                                                         .stop = [&parts] { parts.server->stop(); },
                                                         .started = now()});
    auto routes = own_routes(*parts.services);
    for (Route& route : TRY(more(*parts.services)))
        routes.push_back(std::move(route));
    const auto is_lost = [&operations = *parts.operations](const nlohmann::json& began) {
        const auto operation = operations.find(began.value("id", ""));
        return !operation || (api::is_over(operation->state) && operation->state != api::OperationState::Succeeded);
    };
    parts.dispatcher = std::make_unique<Dispatcher>(std::move(routes), *parts.answers, is_lost);
    return {};
}

/// From when it is made to when it goes, the process has this long to end; then it is ended. What was acknowledged is
/// on the disk, and whoever starts next finishes or undoes the rest.
class EndLimit {
public:
    explicit EndLimit(std::chrono::milliseconds patience)
        : thread_{[this, patience] {
              std::unique_lock lock{mutex_};
              if (ended_.wait_for(lock, patience, [this] { return is_over_; })) return;
              log::error("coppiced", "a request or work in the background did not stop in time and is cut off");
              ::_exit(1);
          }}
    {
    }
    EndLimit(const EndLimit&) = delete;
    EndLimit& operator=(const EndLimit&) = delete;
    ~EndLimit()
    {
        {
            const std::scoped_lock lock{mutex_};
            is_over_ = true;
        }
        ended_.notify_one();
        thread_.join();
    }

private:
    std::mutex mutex_;
    std::condition_variable ended_;
    bool is_over_ = false;
    std::thread thread_; ///< last: it uses the others
};

/// What the service manager hears is no reason to fail.
void tell_manager(std::string_view news)
{
    if (const auto told = os::notify_manager(news); !told)
        log::warn("coppiced", "the service manager could not be told", {{"error", told.error().line()}});
}

} // namespace

Result<int> run_daemon(const DaemonOptions& options, const MoreRoutes& more)
{
    const std::string directory = cat(options.root, '/', kDaemonDirectory);
    TRY(os::make_directories(options.root, 0711));
    TRY(os::make_directories(directory, 0700));
    const auto lock = TRY(take_lock(directory + "/lock", cat("a coppiced runs already for ", options.root)));

    auto listeners = TRY(os::take_listening_sockets());
    auto host = instance::examine_host(options.root); // forks, so before there are threads
    ::signal(SIGPIPE, SIG_IGN);
    ::signal(SIGHUP, SIG_IGN);                                       // there is nothing to read again
    const auto signals = TRY(os::SignalFd::make({SIGTERM, SIGINT})); // blocked for all threads from here on

    std::optional<EndLimit> limit; // ends behind all parts
    Parts parts;
    TRY(assemble(parts, options, std::move(host), more));
    // Last: who can connect may believe that the daemon has started.
    std::optional<OwnSocket> own_socket;
    if (listeners.empty()) {
        auto [listener, socket] = TRY(make_socket(options.socket));
        listeners.push_back(std::move(listener));
        own_socket = std::move(socket);
    }
    parts.server = TRY(Server::make(std::move(listeners), *parts.dispatcher, options.limits));
    TRY(parts.server->watch(signals.fd(), [&] {
        while (signals.next() != 0)
            parts.server->stop();
    }));
    log::info("coppiced", "ready",
              {{"version", options.version},
               {"root", options.root},
               {"socket", own_socket ? own_socket->path : "of the service manager"}});
    tell_manager("READY=1\n");
    const auto served = parts.server->run(options.patience);
    tell_manager("STOPPING=1\n");
    Result<> removed;
    if (own_socket) removed = os::remove_file(os::kCwd, own_socket->path); // while its lock is still held
    limit.emplace(options.patience + std::chrono::seconds{5});             // operations say so themselves, below
    if (!parts.operations->shut_down(options.patience)) {
        log::error("coppiced", "an operation did not stop in time and is cut off");
        ::_exit(1); // its thread cannot be ended otherwise; the journal's next reader knows what that means
    }
    parts.server->end_handlers();
    TRY(removed);
    TRY(served);
    log::info("coppiced", "ended");
    return 0;
}

} // namespace coppice::daemon
