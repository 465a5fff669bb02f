#pragma once

#include "command.h"

namespace coppice::cli {

/// After the end of an instance that we attended: when somebody has to say what becomes of its writes (--on-stop ask),
/// shows what they are and asks at our terminal; without one it says how to answer. Blocks on the answer.
/// Errors: those of the daemon
Result<> ask_if_undecided(const std::string& name, const GlobalOptions& global);

} // namespace coppice::cli
