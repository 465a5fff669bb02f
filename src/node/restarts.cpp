// What restart policies do: when an instance has ended, and when the machine or the daemon has started.

#include "coppice/base/log.h"
#include "coppice/base/time.h"
#include "parts.h"

#include <algorithm>
#include <utility>

namespace coppice::node {

using instance::InstanceConfig;
using When = instance::RestartPolicy::When;
using std::chrono::milliseconds;

namespace {

constexpr milliseconds kFirstPause{100}, kLongestPause{60'000};
constexpr std::time_t kLongLifeSeconds = 10; ///< whoever lived as long has not failed at once

milliseconds pause_after(unsigned failures)
{
    constexpr unsigned kDoublings = 10; // by then it is the longest
    return std::min(kFirstPause * (1U << std::min(failures, kDoublings)), kLongestPause);
}

/// @param status empty: nobody knows it
bool wants_restart(const InstanceConfig& config, std::optional<int> status)
{
    if (config.stop_asked || config.undecided || config.remove_at_end) return false;
    switch (config.restart.when) {
    case When::No: return false;
    case When::OnFailure: return status != 0 && (config.restart.most == 0 || config.restarts < config.restart.most);
    case When::Always:
    case When::UnlessStopped: return true;
    }
    return false;
}

bool was_short(const InstanceConfig& config)
{
    const auto started = parse_rfc3339(config.started);
    return !started || now().tv_sec - started->tv_sec < kLongLifeSeconds;
}

} // namespace

void Instances::consider_restart(const Running& running)
{
    const std::string& name = running.config.name;
    {
        std::unique_lock lock{parts_->mutex};
        const auto restart = parts_->restarts.find(name);
        if (restart != parts_->restarts.end() && std::exchange(restart->second.at_end, false)) {
            lock.unlock();
            [[maybe_unused]] const auto wanted = parts_->store.change(name, [](InstanceConfig& config) -> Result<> {
                config.stop_asked = false;
                return {};
            }); // else the start says what is wrong
            return start_again_in(name, milliseconds{0});
        }
    }
    if (running.failure && !running.by_policy) return; // whoever started it hears of that
    const auto config = parts_->store.read_config(name);
    const auto status = running.ended ? std::optional{running.ended->status}
                        : config      ? config->exit_status
                                      : std::nullopt;
    if (!config || !wants_restart(*config, status)) return forget_restart(name);
    unsigned failures = 0;
    {
        const std::lock_guard lock{parts_->mutex};
        Parts::Restart& restart = parts_->restarts[name];
        restart.failures = was_short(*config) || running.failure ? restart.failures + 1 : 0;
        failures = restart.failures;
    }
    start_again_in(name, pause_after(failures));
}

void Instances::start_again_in(const std::string& name, milliseconds delay)
{
    const std::lock_guard lock{parts_->mutex};
    parts_->restarts[name].timer = parts_->timers->add(delay, [this, name] { start_again(name); });
}

void Instances::start_again(const std::string& name)
{
    {
        const std::lock_guard lock{parts_->mutex};
        const auto restart = parts_->restarts.find(name);
        if (restart == parts_->restarts.end()) return; // somebody has stopped, started or removed it
        restart->second.timer = 0;
    }
    auto config = parts_->store.read_config(name);
    if (!config || config->stop_asked) return forget_restart(name);
    parts_->tell({.what = "restarting", .name = name});
    const auto running = std::make_shared<Running>();
    running->config = *std::move(config);
    running->config.restarts += 1;
    running->by_policy = true;
    os::Fd nobody;
    const auto begun = begin(running, true, nobody);
    if (begun || begun.error().kind() == ErrorKind::Conflict) return; // somebody else has
    log::error("node", "an instance could not be started again", {{"instance", name}, {"error", begun.error().line()}});
    running->failure = begun.error();
    consider_restart(*running);
}

void Instances::forget_restart(const std::string& name)
{
    const std::lock_guard lock{parts_->mutex};
    const auto restart = parts_->restarts.find(name);
    if (restart == parts_->restarts.end()) return;
    if (restart->second.timer != 0) parts_->timers->cancel(restart->second.timer);
    parts_->restarts.erase(restart);
}

/// One that was to be started again in a moment still is.
void Instances::rename_restart(const std::string& name, const std::string& to)
{
    unsigned failures = 0;
    {
        const std::lock_guard lock{parts_->mutex};
        const auto restart = parts_->restarts.find(name);
        if (restart == parts_->restarts.end()) return;
        failures = restart->second.failures;
        const bool is_awaited = restart->second.timer != 0;
        if (is_awaited) parts_->timers->cancel(restart->second.timer);
        parts_->restarts.erase(restart);
        if (!is_awaited) return;
        parts_->restarts[to].failures = failures;
    }
    start_again_in(to, pause_after(failures));
}

void Instances::start_by_policy_at_boot()
{
    const auto names = parts_->store.list();
    if (!names) return;
    for (const std::string& name : *names) {
        const auto runs = parts_->store.is_running(name);
        const auto config = parts_->store.change(name, [&](InstanceConfig& known) -> Result<> {
            // As docker has it.
            if (runs && !*runs && known.restart.when == When::Always) known.stop_asked = false;
            return {};
        });
        if (!config || !runs || *runs || config->awaits_start || !config->is_kept()) continue;
        if (wants_restart(*config, config->exit_status)) start_again_in(name, milliseconds{0});
    }
}

} // namespace coppice::node
