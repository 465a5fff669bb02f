#pragma once

#include "coppice/base/result.h"
#include "coppice/runtime/spec.h"

#include <string>
#include <vector>

namespace coppice::runtime {

/// Runs hooks one after the other, each with the container's state on its standard input. A hook that ends with
/// another status than 0 or outlives its timeout (it is then killed) is an error that names it. Blocks.
/// Source: runtime-spec config.md "POSIX-platform Hooks"
Result<> run_hooks(const std::vector<Hook>& hooks, const char* point, const std::string& state_json);

/// The same for the hooks behind the start and the end of a container: there a failure is logged as a warning and the
/// others still run, because what they report on has happened already.
void run_late_hooks(const std::vector<Hook>& hooks, const char* point, const std::string& state_json);

} // namespace coppice::runtime
