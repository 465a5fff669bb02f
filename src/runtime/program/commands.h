#pragma once

#include "coppice/base/result.h"
#include "options.h"

namespace coppice::runtime_program {

/// Runs the chosen command. The value is the exit status of the program.
Result<int> run_command(const Options& options);

} // namespace coppice::runtime_program
