#pragma once

#include "coppice/runtime/state.h"

#include <functional>
#include <string>
#include <string_view>

/// What can be done to a container that has been created: change its limits, halt it, look at it.
namespace coppice::runtime {

/// Changes limits. All of `resources` holds afterwards, or nothing of it and the error says so. What is not given, and
/// zero where it means "unset", stays as it is. Device rules are not looked at: they are given once.
///
/// @param resources an OCI `linux.resources` object as JSON
/// Errors: Invalid, Unsupported, Conflict (not running; more is in use than a limit allows)
Result<> update(const StateRoot& root, const std::string& id, std::string_view resources);

/// Halts every process of a container until `resume`. Errors: Conflict (not running), Unsupported (no freezer)
Result<> pause(const StateRoot& root, const std::string& id);
/// Errors: Conflict (not paused)
Result<> resume(const StateRoot& root, const std::string& id);

/// Pids of a container's processes, in ascending order; none when it has stopped.
Result<std::vector<pid_t>> processes(const StateRoot& root, const std::string& id);

/// A container's statistics now: one line of JSON in the form that `runc events` gave its clients.
Result<std::string> stats_event(const StateRoot& root, const std::string& id);

/// Calls `tell` with such a line every `interval_ms`, and with another at once when the container runs out of memory
/// (where the kernel counts its memory).
/// Ends with the container, or when `tell` returns false. Errors: Conflict (not running)
Result<> watch_events(const StateRoot& root, const std::string& id, int interval_ms,
                      const std::function<bool(const std::string& line)>& tell);

} // namespace coppice::runtime
