#pragma once

#include "coppice/os/process.h"

#include <string>
#include <vector>

namespace coppice::os {

struct SpawnOptions {
    std::vector<std::string> arguments;      ///< the program first, looked up in PATH unless it has a slash
    std::vector<std::string> more_variables; ///< NAME=value, over this process's environment
    // Borrowed; -1: /dev/null
    int input = -1, output = -1, error = -1;
    int further = -1; ///< becomes descriptor 3
};

/// Starts another program, from any thread of any process: unlike fork_process it runs nothing of ours in the child.
/// The child leads a process group of its own, blocks and ignores no signal, and has no other descriptors.
/// Errors: NotFound, Denied (naming the program)
Result<Process> spawn(const SpawnOptions& options);

/// Ends all processes of a group that `spawn` has made, while its leader is not waited for yet.
void end_group(const Process& leader, int signal);

} // namespace coppice::os
