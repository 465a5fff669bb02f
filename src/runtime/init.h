#pragma once

#include "channel.h"
#include "coppice/os/fd.h"
#include "coppice/runtime/container.h"
#include "rootfs.h"

#include <string>
#include <vector>

namespace coppice::runtime {

/// A namespace that exists already and is to be entered.
struct NamespaceToJoin {
    os::Fd fd;
    std::uint64_t flag;
};

/// All that the container's init needs; prepared by the creator, which it is a copy of.
struct InitContext {
    const Spec& spec;
    const CreateRequest& request;
    const RootfsPlan& rootfs;
    const Channel& channel;
    os::Fd listener;       ///< where `start` will knock; not open when it is to start at once
    os::Fd console_socket; ///< open when there is a terminal
    std::vector<os::Fd> cgroup_join_files;
    bool awaits_placement; ///< systemd will move it into its cgroup
    std::vector<NamespaceToJoin> namespaces;
    StateRecord record; ///< for hooks that run inside
};

/// The body of the container's init: sets the container up from inside, waits for `start`, executes the program.
/// Returns only on failure, with an exit status; the error has been reported by then.
int run_init(InitContext& context);

/// Descriptors 3 to 2 + count must be the caller's, not ours (which are close-on-exec). Errors: Invalid
Result<> check_preserved_fds(unsigned count);

/// Joins a fresh session keyring, so that none is shared with the host or other containers. A kernel without keyrings
/// has none to share.
Result<> new_session_keyring();

} // namespace coppice::runtime
