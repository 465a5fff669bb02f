#pragma once

#include "channel.h"
#include "coppice/runtime/state.h"

namespace coppice::runtime {

/// Waits until the container's init, which has been told to, has executed the program: its end of the channel closes
/// itself then. Hands a seccomp listener over when there is one. Errors: what the init reports
Result<> wait_for_execution(const Channel& init, const ContainerDirectory& directory, const StateRecord& record);

} // namespace coppice::runtime
