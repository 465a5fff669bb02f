#pragma once

#include "coppice/instance/health.h"
#include "coppice/instance/store.h"
#include "coppice/os/process.h"

#include <optional>

/// What can be seen of an instance from outside, by any process.
namespace coppice::instance {

/// What the runtime remembers of one that runs. Errors: NotFound, Conflict (it does not run, or not yet)
Result<runtime::StateRecord> running_record(const InstanceStore& store, const std::string& name);
/// Its first process; empty when it does not run, or not yet.
std::optional<os::ProcessRef> find_init(const InstanceStore& store, const std::string& name);
/// Whether somebody has paused it. One that does not run is not.
bool is_paused(const InstanceStore& store, const std::string& name);
/// Empty when it has no health check, or does not run.
std::optional<HealthReport> read_health(const InstanceStore& store, const std::string& name);

} // namespace coppice::instance
