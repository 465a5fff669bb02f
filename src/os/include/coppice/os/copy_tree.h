#pragma once

#include "coppice/os/fd.h"

namespace coppice::os {

/// Copies what is in the directory `from` into the empty directory `to`, with their owners, modes and times: files,
/// directories, links, devices, sockets and FIFOs. `from` is not trusted: no link is followed, and other file systems
/// mounted below it are left out. Both may be O_PATH descriptors. Errors: Unavailable (no space left)
Result<> copy_tree(int from, int to);

} // namespace coppice::os
