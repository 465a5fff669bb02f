#include "coppice/instance/stop.h"

#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/instance/halt.h"
#include "coppice/instance/look.h"
#include "coppice/os/file.h"
#include "coppice/runtime/control.h"

#include <algorithm>
#include <charconv>
#include <csignal>

namespace coppice::instance {

namespace {

constexpr std::int64_t kUsualSeconds = 10;

Result<bool> runs_now(const InstanceStore& store, const std::string& name)
{
    auto running = store.is_running(name);
    if (!running && running.error().kind() == ErrorKind::NotFound) return false; // --rm: gone altogether
    return running;
}

/// Whether the process would take notice of the signal: it catches it, or reads it from a descriptor.
bool hears(pid_t pid, int signal)
{
    const auto status = os::read_file(os::kCwd, cat("/proc/", pid, "/status"));
    if (!status) return true; // it has gone
    for (const auto line : split(*status, '\n')) {
        if (!line.starts_with("SigBlk:\t") && !line.starts_with("SigCgt:\t")) continue;
        std::uint64_t mask = 0;
        const auto digits = line.substr(line.find('\t') + 1);
        std::from_chars(digits.data(), digits.data() + digits.size(), mask, 16);
        if ((mask >> (signal - 1) & 1U) != 0) return true;
    }
    return false;
}

/// The init of a whole system that has just begun would never know of a signal that came before it listens.
void wait_until_it_hears(const os::ProcessRef& init, int signal, std::chrono::seconds patience)
{
    constexpr std::chrono::seconds kLongest{10};
    constexpr int kPauseMs = 20;
    const auto end = std::chrono::steady_clock::now() + std::min(patience, kLongest);
    while (!hears(init.pid(), signal) && std::chrono::steady_clock::now() < end)
        sleep_ms(kPauseMs);
}

} // namespace

Result<> check_restart(const InstanceConfig& config)
{
    const std::string& name = config.name;
    if (config.remove_at_end)
        return fail(Error{ErrorKind::Conflict, cat("instance ", name, " was started with --rm: it would be gone")}.hint(
            cat("coppice stop ", name, ", and run it again")));
    if (config.on_stop == OnStop::Ask)
        return fail(
            Error{ErrorKind::Conflict, cat("what ", name, " has written would have to be decided on first")}.hint(
                cat("coppice stop ", name, ", then coppice keep or undo, then coppice start ", name)));
    return {};
}

Result<std::optional<Stopping>> ask_to_stop(const InstanceStore& store, const std::string& name, const StopWish& wish)
{
    const auto asked = store.change(name, [](InstanceConfig& config) -> Result<> {
        config.stop_asked = config.restart.when != RestartPolicy::When::No;
        return {};
    });
    if (!asked && asked.error().kind() == ErrorKind::NotFound) return fail(asked.error());
    // A damaged description must not keep anybody from stopping the instance.
    const InstanceConfig config = asked.value_or(InstanceConfig{});
    const int signal = wish.signal                  ? *wish.signal
                       : config.stop_signal.empty() ? SIGTERM
                                                    : TRY(os::parse_signal(config.stop_signal));
    const auto patience =
        wish.patience.value_or(std::chrono::seconds{config.stop_timeout_seconds.value_or(kUsualSeconds)});
    constexpr int kTries = 1000, kPauseMs = 10;
    for (int left = kTries; TRY(runs_now(store, name)); --left) {
        auto init = find_init(store, name);
        if (!init && left == 0)
            return fail(ErrorKind::Conflict, cat("the start of instance ", name, " comes to no end"));
        if (!init) {
            sleep_ms(kPauseMs); // it is just starting, or ending
            continue;
        }
        const auto turn = take_turn(store, name);
        if (!turn && turn.error().kind() != ErrorKind::NotFound) return fail(turn.error());
        if (is_paused(store, name)) TRY(runtime::resume(TRY(store.runtime_root()), name)); // else it could not hear
        if (config.boot && patience.count() > 0) wait_until_it_hears(*init, signal, patience);
        const auto sent = init->send(patience.count() > 0 ? signal : SIGKILL);
        if (!sent && sent.error().kind() != ErrorKind::NotFound) return fail(sent.error());
        return std::optional{Stopping{.init = *std::move(init), .patience = patience}};
    }
    return std::optional<Stopping>{};
}

} // namespace coppice::instance
