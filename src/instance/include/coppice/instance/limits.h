#pragma once

#include "coppice/instance/config.h"
#include "coppice/instance/store.h"

namespace coppice::instance {

/// Gives a running instance the limits of `config`; all of them hold afterwards, or none has changed.
/// Errors: as runtime::update
Result<> apply_limits(const InstanceStore& store, const InstanceConfig& config);

} // namespace coppice::instance
