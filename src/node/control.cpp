// What somebody asks of an instance that is there: to stop, to halt, to change.

#include "coppice/runtime/control.h"
#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/instance/halt.h"
#include "coppice/instance/limits.h"
#include "coppice/instance/stop.h"
#include "coppice/runtime/container.h"
#include "coppice/vdisk/working_layer.h"
#include "parts.h"

#include <csignal>

namespace coppice::node {

using instance::InstanceConfig;
/// @returns whether there is an end to be waited for
Result<bool> Instances::ask_to_stop(const std::string& name, const instance::StopWish& wish)
{
    auto stopping = TRY(instance::ask_to_stop(parts_->store, name, wish));
    if (!stopping) return false;
    if (stopping->patience.count() > 0)
        parts_->timers->add(stopping->patience, [init = std::make_shared<os::ProcessRef>(std::move(stopping->init))] {
            [[maybe_unused]] const auto killed = init->send(SIGKILL); // NotFound: it has ended, as it should
        });
    return true;
}

Result<> Instances::stop(const std::string& name, const instance::StopWish& wish)
{
    forget_restart(name);
    TRY(ask_to_stop(name, wish));
    return {};
}

Result<> Instances::restart(const std::string& name, const instance::StopWish& wish)
{
    TRY(instance::check_restart(TRY(parts_->store.read_config(name))));
    {
        const std::lock_guard lock{parts_->mutex};
        const auto running = parts_->running.find(name);
        if (running != parts_->running.end() && !running->second->has_ended) parts_->restarts[name].at_end = true;
    }
    if (TRY(ask_to_stop(name, wish))) return {};
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
    const auto turn = TRY(instance::take_turn(parts_->store, name));
    TRY(runtime::pause(TRY(parts_->store.runtime_root()), name));
    parts_->tell({.what = "paused", .name = name});
    return {};
}

Result<> Instances::resume(const std::string& name)
{
    TRY(parts_->store.find_directory(name));
    const auto turn = TRY(instance::take_turn(parts_->store, name));
    TRY(runtime::resume(TRY(parts_->store.runtime_root()), name));
    parts_->tell({.what = "resumed", .name = name});
    return {};
}

Result<> Instances::update(const std::string& name, const std::function<Result<>(InstanceConfig&)>& edit)
{
    TRY(parts_->store.change(name, [&](InstanceConfig& config) -> Result<> {
        const InstanceConfig before = config;
        TRY(edit(config));
        return TRY(parts_->store.is_running(name)) ? instance::change_limits(parts_->store, before, config)
                                                   : Result<>{};
    }));
    parts_->schedules->look_at(name);
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
            const auto branch = TRY(
                parts_->storage.store().read([&](const store::View& view) { return store::get_working(view, name); }));
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
