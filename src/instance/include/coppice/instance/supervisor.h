#pragma once

#include "coppice/os/fd.h"

namespace coppice::instance {

/// The life of one instance, from its launch message to its last trace: makes or takes hold of it, mounts its layer in
/// a mount namespace of this process alone, creates and starts the container, keeps its output when it is detached,
/// and cleans up at its end. One single-threaded process per running instance.
///
/// An attached instance ends with its starter: when the socket closes without a word, it is killed and cleaned up.
/// @param socket to the starter, see protocol.h
/// @return exit status of the program
int supervise(os::Fd socket);

} // namespace coppice::instance
