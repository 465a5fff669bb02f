// What somebody asks of an instance that is there: to stop, to halt, to change.

#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/instance/limits.h"
#include "coppice/instance/look.h"
#include "coppice/runtime/container.h"
#include "coppice/runtime/control.h"
#include "coppice/vdisk/working_layer.h"
#include "parts.h"

#include <csignal>

namespace coppice::node {

using instance::InstanceConfig;
namespace {

constexpr std::int64_t kStopSeconds = 10;

Result<bool> is_running_now(const instance::InstanceStore& store, const std::string& name)
{
    const auto running = store.is_running(name);
    if (!running && running.error().kind() == ErrorKind::NotFound) return false; // --rm: gone altogether
    return running;
}

} // namespace

/// @returns whether there is something to wait for
Result<bool> Instances::send_stop(const InstanceConfig& config, const StopWish& wish)
{
    const std::string& name = config.name;
    const auto root = TRY(parts_->store.runtime_root());
    const int signal = wish.signal                 ? *wish.signal
                       : config.stop_signal.empty() ? SIGTERM
                                                    : TRY(os::parse_signal(config.stop_signal));
    const auto patience =
        wish.patience.value_or(std::chrono::seconds{config.stop_timeout_seconds.value_or(kStopSeconds)});
    // One that is just starting can be told in a moment.
    constexpr int kTries = 1000, kPauseMs = 10;
    for (int left = kTries; TRY(is_running_now(parts_->store, name)); --left) {
        auto init = instance::find_init(parts_->store, name);
        if (!init && left > 0) {
            sleep_ms(kPauseMs);
            continue;
        }
        if (!init) return fail(ErrorKind::Conflict, cat("instance ", name, " does not come to an end of its start"));
        if (instance::is_paused(parts_->store, name)) TRY(runtime::resume(root, name)); // else it could not hear
        const auto sent = init->send(patience.count() > 0 ? signal : SIGKILL);
        if (!sent && sent.error().kind() != ErrorKind::NotFound) return fail(sent.error());
        if (patience.count() > 0)
            parts_->timers->add(patience, [init = std::make_shared<os::ProcessRef>(*std::move(init))] {
                [[maybe_unused]] const auto killed = init->send(SIGKILL); // NotFound: it has ended, as it should
            });
        return true;
    }
    return false;
}

Result<> Instances::stop(const std::string& name, const StopWish& wish)
{
    forget_restart(name);
    const auto asked = parts_->store.change(name, [](InstanceConfig& config) -> Result<> {
        config.stop_asked = config.restart.when != instance::RestartPolicy::When::No;
        return {};
    });
    if (!asked && asked.error().kind() == ErrorKind::NotFound) return fail(asked.error());
    // A damaged description must not keep anybody from stopping the instance.
    InstanceConfig config = asked.value_or(InstanceConfig{});
    config.name = name;
    TRY(send_stop(config, wish));
    return {};
}

Result<> Instances::restart(const std::string& name, const StopWish& wish)
{
    const auto config = TRY(parts_->store.read_config(name));
    {
        const std::lock_guard lock{parts_->mutex};
        const auto running = parts_->running.find(name);
        if (running != parts_->running.end() && !running->second->has_ended) parts_->restarts[name].at_end = true;
    }
    if (TRY(send_stop(config, wish))) return {};
    forget_restart(name);
    TRY(start(name, true));
    return {};
}

Result<> Instances::kill(const std::string& name, int signal)
{
    TRY(parts_->store.find_directory(name));
    return runtime::kill(TRY(parts_->store.runtime_root()), name, signal, false);
}

Result<> Instances::pause(const std::string& name)
{
    TRY(parts_->store.find_directory(name));
    TRY(runtime::pause(TRY(parts_->store.runtime_root()), name));
    parts_->tell({.what = "paused", .name = name});
    return {};
}

Result<> Instances::resume(const std::string& name)
{
    TRY(parts_->store.find_directory(name));
    TRY(runtime::resume(TRY(parts_->store.runtime_root()), name));
    parts_->tell({.what = "resumed", .name = name});
    return {};
}

Result<> Instances::update(const std::string& name, const std::function<Result<>(InstanceConfig&)>& edit)
{
    TRY(parts_->store.change(name, [&](InstanceConfig& config) -> Result<> {
        TRY(edit(config));
        if (TRY(parts_->store.is_running(name))) TRY(instance::apply_limits(parts_->store, config));
        return {};
    }));
    parts_->tell({.what = "updated", .name = name});
    return {};
}

Result<> Instances::decide(const std::string& name, bool keep)
{
    const auto held = TRY(parts_->store.hold(name));
    const auto config = TRY(parts_->store.read_config(name));
    if (!config.undecided)
        return fail(Error{ErrorKind::Conflict, cat("there is nothing to decide about instance ", name)}.hint(
            "only one that was started with --on-stop ask, and has stopped, is undecided"));
    if (!keep) {
        if (config.snapshot.empty()) {
            TRY(vdisk::WorkingLayer::discard(held.directory.get()));
        } else {
            const auto branch = TRY(parts_->storage.store().read(
                [&](const store::View& view) { return store::get_working(view, name); }));
            TRY(parts_->storage.rollback(name, branch.snapshot));
        }
    }
    TRY(parts_->store.change(name, [](InstanceConfig& decided) -> Result<> {
        decided.undecided = false;
        return {};
    }));
    parts_->tell({.what = keep ? "kept" : "undone", .name = name});
    return {};
}

} // namespace coppice::node
