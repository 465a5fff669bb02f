#pragma once

#include "coppice/os/fd.h"

#include <string>
#include <string_view>
#include <vector>

/// What a service manager gives to a program and hears from it, without a library of its. Sources: sd_notify(3),
/// sd_listen_fds(3)
namespace coppice::os {

/// The socket on which the manager wants to hear from us (NOTIFY_SOCKET); empty when there is none.
std::string notify_socket();

/// Tells the manager: assignments such as "READY=1", one a line. Without a manager nothing happens. Does not block.
Result<> notify_manager(std::string_view assignments);

/// Takes the listening sockets that the manager opened for us (LISTEN_FDS), once: they are close-on-exec then, and the
/// variables are gone, so that no child takes them for its own. Single-threaded callers. Errors: Invalid
Result<std::vector<Fd>> take_listening_sockets();

} // namespace coppice::os
