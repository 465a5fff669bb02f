#pragma once

#include "channel.h"
#include "coppice/runtime/spec.h"
#include "labels.h"
#include "syscall_filter.h"

#include <string>

namespace coppice::runtime {

/// What a program gets when nothing else is said; the caller's own is not the container's.
inline constexpr mode_t kDefaultUmask = 022;

/// A program ready to be executed inside a container: paths and names resolved there.
struct PreparedProgram {
    std::string path; ///< as execve takes it
    std::vector<std::string> env;
    User user;
    os::CapabilitySets capabilities;
    ExecLabels labels;
};

/// Sets `process.oomScoreAdj` of a process, seen from outside the container.
/// @param pid number, or "self"
/// @param host_root see os::is_host_root; others may not lower it, and then it stays as it is
Result<> set_oom_score(const ProcessSpec& process, const std::string& pid, bool host_root);

/// Inside the container: finds the command along its PATH, looks user names up, completes the environment (HOME), and
/// enters the working directory (made when missing). Errors: CommandNotFound, CommandNotExecutable, NotFound, Denied
Result<PreparedProgram> prepare_program(const ProcessSpec& process);

/// Becomes the user with the limits and rights of `process`, filters system calls and executes the program. Returns
/// only with an error.
/// @param peer who hands a filter's listener over, see listener.h
/// @param keep_fds descriptors 3 to 2 + n survive
/// @param dies_with_parent SIGKILL when the creating process ends
Result<> execute(const ProcessSpec& process, const PreparedProgram& program, const SeccompFilter& filter,
                 const Channel& peer, unsigned keep_fds, bool dies_with_parent);

} // namespace coppice::runtime
