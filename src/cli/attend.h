#pragma once

#include "coppice/instance/launch.h"
#include "coppice/os/event_loop.h"

namespace coppice::cli {

/// Stays with an instance that we have started, or attached ourselves to, until its end or until we leave it.
/// @returns its exit status, with what there is to tell about its end on standard error
Result<int> attend(instance::RunningInstance& running, bool with_input, const os::SignalFd& signals);

} // namespace coppice::cli
