#pragma once

#include "command.h"
#include "coppice/api/client.h"

namespace coppice::cli {

/// The way to the daemon of this root. When nobody listens, `coppiced` is started in the background, with its messages
/// in ROOT/daemon/coppiced.log; of many that try at once one does, and all wait until it is ready. It is not started
/// where a socket was named with --socket, nor where systemd has a unit for it: there that is systemd's to do.
/// Single-threaded callers. Errors: Unavailable (it did not start; with what it said), Denied, those of Client::call
Result<api::Client> reach_daemon(const GlobalOptions& global);

/// The same without starting one.
api::Client running_daemon(const GlobalOptions& global);

} // namespace coppice::cli
