#include "command.h"
#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/instance/launch.h"
#include "coppice/instance/stop.h"
#include "coppice/os/process.h"
#include "daemon_link.h"
#include "declare.h"
#include "instances.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <deque>
#include <functional>
#include <memory>
#include <optional>

namespace coppice::cli {

namespace {

constexpr int kUnknownStatus = 255;

/// Waits until the supervisor has cleaned up and let go. False when the time ran out.
Result<bool> wait_stopped(const instance::InstanceStore& store, const std::string& name, long milliseconds)
{
    for (long waited = 0;; waited += 10) {
        const auto running = store.is_running(name);
        if (!running && running.error().kind() == ErrorKind::NotFound) return true; // --rm: gone altogether
        if (!TRY(Result<bool>{running})) return true;
        if (waited >= milliseconds) return false;
        sleep_ms(10);
    }
}

using Clock = std::chrono::steady_clock;

Result<> wait_for_end(const instance::InstanceStore& store, const std::string& name, const instance::Stopping& stopping,
                      Clock::time_point asked)
{
    constexpr long kCleanUpMs = 30'000;
    if (stopping.patience.count() > 0) {
        const auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(asked + stopping.patience - Clock::now());
        if (!TRY(stopping.init.wait_gone(std::max(0, static_cast<int>(left.count())))))
            TRY(stopping.init.send(SIGKILL));
    }
    if (TRY(wait_stopped(store, name, kCleanUpMs))) return {};
    return fail(ErrorKind::Conflict, cat("instance ", name, " does not stop"));
}

/// Stops instances in the order of their names; those that come next have been asked by then. Needs no daemon: what
/// that has to do at the end it does when it hears of it.
class Stops {
public:
    using Ask = std::function<Result<std::optional<instance::Stopping>>(const std::string& name)>;
    Stops(const instance::InstanceStore& store, const std::vector<std::string>& names, Ask ask)
        : store_{&store}, names_{&names}, ask_{std::move(ask)}
    {
    }
    /// Until the next one has stopped. One that had already is what was wanted.
    Result<> next()
    {
        constexpr std::size_t kAhead = 64; // each takes a descriptor
        for (; asked_.size() < kAhead && begun_ < names_->size(); ++begun_)
            asked_.push_back({.outcome = ask_((*names_)[begun_]), .when = Clock::now()});
        const std::string& name = (*names_)[begun_ - asked_.size()];
        auto [outcome, when] = std::move(asked_.front());
        asked_.pop_front();
        const auto stopping = TRY(std::move(outcome));
        return stopping ? wait_for_end(*store_, name, *stopping, when) : Result<>{};
    }

private:
    struct Asked {
        Result<std::optional<instance::Stopping>> outcome;
        Clock::time_point when;
    };
    const instance::InstanceStore* store_;
    const std::vector<std::string>* names_;
    Ask ask_;
    std::deque<Asked> asked_;
    std::size_t begun_ = 0;
};

/// Of one that has stopped. @param force one that is gone is fine
Result<> remove(const instance::InstanceStore& store, const std::string& name, bool force, const GlobalOptions& global)
{
    const auto config = store.read_config(name); // a damaged one can be removed, too
    if (config && !config->snapshot.empty()) {   // its branch is the daemon's
        const auto client = TRY(reach_daemon(global));
        const auto removed = client.call({.method = "DELETE", .target = instance_target(name)});
        if (removed || (force && removed.error().kind() == ErrorKind::NotFound)) return {}; // --rm took it
        return fail(removed.error());
    }
    auto held = store.hold(name);
    if (!held) {
        if (force && held.error().kind() == ErrorKind::NotFound) return {}; // --rm took it
        return fail(std::move(held).error());
    }
    return store.remove(*held, name);
}

/// Steps of the daemon's that need no more than names.
struct NamesOptions {
    std::vector<std::string> names;
};

Result<> post(const api::Client& client, const std::string& name, std::string_view step,
              std::optional<nlohmann::json> body = {})
{
    TRY_DOING(
        cat(step, ' ', name),
        client.call({.method = "POST", .target = instance_target(name, cat('/', step)), .body = std::move(body)}));
    return {};
}

template <const char* Step> Result<int> simply(const NamesOptions& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    return for_each(options.names, [&](const std::string& name) { return post(client, name, Step); });
}

void take_names(CLI::App& command, std::vector<std::string>& names)
{
    command.add_option("names", names, "Names of the instances")->type_name("NAME")->required()->check(&not_empty);
}

struct StopOptions {
    std::vector<std::string> names;
    std::optional<long> seconds;
    std::string signal;
};

Result<instance::StopWish> wish_of(const StopOptions& options)
{
    instance::StopWish wish;
    if (!options.signal.empty()) wish.signal = TRY(os::parse_signal(options.signal)); // before the first one stops
    if (options.seconds) wish.patience = std::chrono::seconds{*options.seconds};
    return wish;
}

void take_stop_wish(CLI::App& command, StopOptions& options)
{
    take_names(command, options.names);
    command
        .add_option("-t,--time", options.seconds,
                    "Seconds to wait before SIGKILL (default: the instance's own, else 10)")
        ->type_name("SECONDS")
        ->check(CLI::Range(0L, long{instance::kMaxStopTimeout}));
    command.add_option("-s,--signal", options.signal, "Signal to ask with (default: the instance's own, else TERM)")
        ->type_name("SIGNAL")
        ->check(&not_empty);
}

Result<int> run_stop(const StopOptions& options, const GlobalOptions& global)
{
    const auto wish = TRY(wish_of(options));
    const auto store = TRY(instance::InstanceStore::look(global.root));
    Stops stops{store, options.names,
                [&](const std::string& name) { return instance::ask_to_stop(store, name, wish); }};
    return for_each(options.names,
                    [&](const std::string& name) { return with_context(stops.next(), cat("stop ", name)); });
}

/// Stops it here, so that one sees when that is done, and has the daemon start it.
Result<int> run_restart(const StopOptions& options, const GlobalOptions& global)
{
    const auto wish = TRY(wish_of(options));
    const auto store = TRY(instance::InstanceStore::look(global.root));
    const auto client = TRY(reach_daemon(global));
    Stops stops{store, options.names, [&](const std::string& name) -> Result<std::optional<instance::Stopping>> {
                    TRY(instance::check_restart(TRY(store.read_config(name))));
                    return instance::ask_to_stop(store, name, wish);
                }};
    return for_each(options.names, [&](const std::string& name) -> Result<> {
        TRY_DOING(cat("restart ", name), stops.next());
        return post(client, name, "start", nlohmann::json::object());
    });
}

struct KillOptions {
    std::vector<std::string> names;
    std::string signal = "KILL";
};

Result<int> run_kill(const KillOptions& options, const GlobalOptions& global)
{
    TRY(os::parse_signal(options.signal));
    const auto client = TRY(reach_daemon(global));
    return for_each(options.names, [&](const std::string& name) {
        return post(client, name, "kill", nlohmann::json{{"signal", options.signal}});
    });
}

struct RemoveOptions {
    std::vector<std::string> names;
    bool force = false;
};

Result<int> run_rm(const RemoveOptions& options, const GlobalOptions& global)
{
    const auto store = TRY(instance::InstanceStore::look(global.root));
    const instance::StopWish at_once{.signal = SIGKILL, .patience = std::chrono::seconds{0}};
    Stops stops{store, options.names, [&](const std::string& name) -> Result<std::optional<instance::Stopping>> {
                    // What does not run may have a description that cannot be read: it can be removed all the same.
                    if (!options.force || !TRY(store.is_running(name))) return std::nullopt;
                    return instance::ask_to_stop(store, name, at_once);
                }};
    return for_each(options.names, [&](const std::string& name) -> Result<> {
        TRY_DOING(cat("rm ", name), stops.next());
        return with_context(remove(store, name, options.force, global), cat("rm ", name));
    });
}

/// Until all of them have ended; prints how.
Result<int> run_wait(const NamesOptions& options, const GlobalOptions& global)
{
    const auto store = TRY(instance::InstanceStore::look(global.root));
    for (const std::string& name : options.names) {
        auto running = instance::RunningInstance::attach(store, name, false);
        if (!running && running.error().kind() == ErrorKind::Conflict) { // it has ended
            const auto config = TRY_DOING(cat("wait ", name), store.read_config(name));
            std::printf("%d\n", config.exit_status.value_or(kUnknownStatus));
            continue;
        }
        std::optional<instance::RunningInstance::End> end;
        if (!running) return fail(std::move(running).error().with(cat("wait ", name)));
        while (!end)
            end = TRY_DOING(cat("wait ", name), running->next());
        std::printf("%d\n", end->status);
        std::fflush(stdout);
    }
    return 0;
}

constexpr char kPause[] = "pause", kResume[] = "resume", kKeep[] = "keep", kUndo[] = "undo";

/// A command that is one such step.
template <const char* Step> void add_step(CLI::App& app, Command& chosen, const char* text, const char* example)
{
    auto [command, options] = declare<NamesOptions>(app, Step, text, chosen, simply<Step>);
    take_names(command, options.names);
    command.footer(example);
}

} // namespace

void add_stop(CLI::App& app, Command& chosen)
{
    auto [command, options] =
        declare<StopOptions>(app, "stop", "Stop instances: first politely, then by force", chosen, run_stop);
    take_stop_wish(command, options);
    command.footer("Example: coppice stop -t 30 web");
}

void add_restart(CLI::App& app, Command& chosen)
{
    auto [command, options] =
        declare<StopOptions>(app, "restart", "Stop instances and start them again", chosen, run_restart);
    take_stop_wish(command, options);
    command.footer("Example: coppice restart -t 30 web");
}

void add_kill(CLI::App& app, Command& chosen)
{
    auto [command, options] =
        declare<KillOptions>(app, "kill", "Send a signal to the first process of instances", chosen, run_kill);
    take_names(command, options.names);
    command.add_option("-s,--signal", options.signal, "Name or number (default: KILL)")
        ->type_name("SIGNAL")
        ->check(&not_empty);
    command.footer("Example: coppice kill -s HUP web");
}

void add_pause(CLI::App& app, Command& chosen)
{
    add_step<kPause>(app, chosen, "Halt all processes of instances", "Example: coppice pause web");
}

void add_resume(CLI::App& app, Command& chosen)
{
    add_step<kResume>(app, chosen, "Let the processes of paused instances go on", "Example: coppice resume web");
}

void add_wait(CLI::App& app, Command& chosen)
{
    auto [command, options] =
        declare<NamesOptions>(app, "wait", "Wait until instances have ended, and print how", chosen, run_wait);
    take_names(command, options.names);
    command.footer("Example: coppice wait job-1 job-2\n"
                   "One line with an exit status for each: 255 when nobody knows it.");
}

void add_keep(CLI::App& app, Command& chosen)
{
    add_step<kKeep>(app, chosen, "Keep what instances of --on-stop ask have written",
                    "Example: coppice keep web\n"
                    "See before what that is: coppice diff web");
}

void add_undo(CLI::App& app, Command& chosen)
{
    add_step<kUndo>(app, chosen, "Undo what instances of --on-stop ask have written", "Example: coppice undo web");
}

void add_rm(CLI::App& app, Command& chosen)
{
    auto [command, options] =
        declare<RemoveOptions>(app, "rm", "Remove stopped instances with everything they wrote", chosen, run_rm);
    take_names(command, options.names);
    command.add_flag("-f,--force", options.force, "Stop running ones first, by SIGKILL");
    command.footer("Example: coppice rm -f web");
}

} // namespace coppice::cli
