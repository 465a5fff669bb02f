#include "command.h"
#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/os/process.h"
#include "coppice/runtime/container.h"
#include "daemon_link.h"

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>

namespace coppice::cli {

namespace {

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

Result<> stop(const instance::InstanceStore& store, const std::string& name, int signal, long patience_seconds)
{
    if (!TRY(store.is_running(name))) return {}; // stopped already: what was wanted
    const auto runtime = TRY(store.runtime_root());
    const auto send = [&](int number) -> Result<> {
        auto sent = runtime::kill(runtime, name, number, false);
        // Ended or still coming to be: the wait below tells.
        if (!sent && (sent.error().kind() == ErrorKind::NotFound || sent.error().kind() == ErrorKind::Conflict))
            return {};
        return sent;
    };
    if (patience_seconds > 0) {
        TRY(send(signal));
        if (TRY(wait_stopped(store, name, patience_seconds * 1000))) return {};
    }
    TRY(send(SIGKILL));
    constexpr long kCleanUpMs = 30'000;
    if (TRY(wait_stopped(store, name, kCleanUpMs))) return {};
    return fail(ErrorKind::Conflict, cat("instance ", name, " does not stop"));
}

/// @param signal, seconds as given; empty: what the instance was started with
Result<> stop_as_asked(const instance::InstanceStore& store, const std::string& name, std::string signal,
                       std::optional<long> seconds)
{
    constexpr long kPatienceSeconds = 10;
    if (signal.empty() || !seconds) {
        // A damaged description must not keep anybody from stopping the instance.
        const auto config = store.read_config(name);
        if (signal.empty() && config) signal = config->stop_signal;
        if (!seconds && config) seconds = config->stop_timeout_seconds;
    }
    const int number = TRY(os::parse_signal(signal.empty() ? "TERM" : signal));
    return stop(store, name, number, seconds.value_or(kPatienceSeconds));
}

Result<> remove(const instance::InstanceStore& store, const std::string& name, bool force, const GlobalOptions& global)
{
    const auto config = store.read_config(name); // a damaged one can be removed, too
    if (force && TRY(store.is_running(name))) TRY(stop(store, name, SIGKILL, 0));
    if (config && !config->snapshot.empty()) { // its branch is the daemon's
        const auto client = TRY(reach_daemon(global));
        const auto removed = client.call({.method = "DELETE", .target = cat("/v1/instances/", name)});
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

/// Does `act` for every name, going on after a failure; the first error is returned at the end, others are printed.
Result<int> for_each(const std::vector<std::string>& names, const std::function<Result<>(const std::string&)>& act)
{
    Result<> outcome;
    for (const std::string& name : names) {
        auto done = act(name);
        if (done) {
            std::puts(name.c_str());
        } else if (outcome) {
            outcome = std::move(done);
        } else {
            std::fprintf(stderr, "coppice: %s\n", done.error().line().c_str());
        }
    }
    TRY(std::move(outcome));
    return 0;
}

} // namespace

void add_stop(CLI::App& app, Command& chosen)
{
    struct Options {
        std::vector<std::string> names;
        std::optional<long> seconds;
        std::string signal;
    };
    auto options = std::make_shared<Options>();
    CLI::App* const command = app.add_subcommand("stop", "Stop instances: first politely, then by force");
    command->add_option("names", options->names, "Names of the instances")->type_name("NAME")->required();
    command
        ->add_option("-t,--time", options->seconds,
                     "Seconds to wait before SIGKILL (default: the instance's own, else 10)")
        ->type_name("SECONDS")
        ->check(CLI::Range(0L, long{instance::kMaxStopTimeout}));
    command->add_option("-s,--signal", options->signal, "Signal to ask with (default: the instance's own, else TERM)")
        ->type_name("SIGNAL")
        ->check(&not_empty);
    command->footer("Example: coppice stop -t 30 web");
    command->callback([options, &chosen] {
        chosen = [options](const GlobalOptions& global) -> Result<int> {
            if (!options->signal.empty()) TRY(os::parse_signal(options->signal)); // before the first one stops
            const auto store = TRY(instance::InstanceStore::look(global.root));
            return for_each(options->names, [&](const std::string& name) {
                return with_context(stop_as_asked(store, name, options->signal, options->seconds), cat("stop ", name));
            });
        };
    });
}

void add_rm(CLI::App& app, Command& chosen)
{
    struct Options {
        std::vector<std::string> names;
        bool force = false;
    };
    auto options = std::make_shared<Options>();
    CLI::App* const command = app.add_subcommand("rm", "Remove stopped instances with everything they wrote");
    command->add_option("names", options->names, "Names of the instances")->type_name("NAME")->required();
    command->add_flag("-f,--force", options->force, "Stop running ones first, by SIGKILL");
    command->footer("Example: coppice rm -f web");
    command->callback([options, &chosen] {
        chosen = [options](const GlobalOptions& global) -> Result<int> {
            const auto store = TRY(instance::InstanceStore::look(global.root));
            return for_each(options->names, [&](const std::string& name) {
                return with_context(remove(store, name, options->force, global), cat("rm ", name));
            });
        };
    });
}

} // namespace coppice::cli
