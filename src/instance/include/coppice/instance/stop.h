#pragma once

#include "coppice/instance/store.h"
#include "coppice/os/process.h"

#include <chrono>
#include <optional>
#include <string>

namespace coppice::instance {

/// What is not said is as the instance has it, else TERM and 10 seconds.
struct StopWish {
    std::optional<int> signal;
    std::optional<std::chrono::seconds> patience; ///< until SIGKILL; 0: at once
};

/// One that has been asked to end.
struct Stopping {
    os::ProcessRef init;
    std::chrono::seconds patience; ///< when that is over it is to be killed; 0: it was
};

/// Whether it can be started again after it has stopped, with nothing in between. Errors: Conflict (it would be gone,
/// or undecided)
Result<> check_restart(const InstanceConfig& config);

/// Remembers that somebody wants the instance to stop, so that its restart policy leaves it alone, and asks it to end,
/// as `wish` says. Needs no daemon. Waits for one that is just starting. Empty: it does not run.
/// Errors: NotFound, Conflict (its start comes to no end)
Result<std::optional<Stopping>> ask_to_stop(const InstanceStore& store, const std::string& name, const StopWish& wish);

} // namespace coppice::instance
