#pragma once

#include "coppice/instance/config.h"
#include "coppice/instance/store.h"

namespace coppice::instance {

/// Gives a running instance the limits of `now` in the place of those of `before`; all of them hold afterwards, or none
/// has changed. Errors: as runtime::update
Result<> change_limits(const InstanceStore& store, const InstanceConfig& before, const InstanceConfig& now);

} // namespace coppice::instance
