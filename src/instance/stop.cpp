#include "coppice/instance/stop.h"

#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/instance/halt.h"
#include "coppice/instance/look.h"
#include "coppice/runtime/control.h"

#include <csignal>

namespace coppice::instance {

namespace {

constexpr std::int64_t kUsualSeconds = 10;

Result<bool> runs_now(const InstanceStore& store, const std::string& name)
{
    const auto running = store.is_running(name);
    if (!running && running.error().kind() == ErrorKind::NotFound) return false; // --rm: gone altogether
    return running;
}

} // namespace

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
        const auto sent = init->send(patience.count() > 0 ? signal : SIGKILL);
        if (!sent && sent.error().kind() != ErrorKind::NotFound) return fail(sent.error());
        return std::optional{Stopping{.init = *std::move(init), .patience = patience}};
    }
    return std::optional<Stopping>{};
}

} // namespace coppice::instance
