#pragma once

#include "coppice/os/fd.h"

#include <functional>

namespace coppice::os {

/// A mount namespace of this process's own, beside the one it lives in: for mounts that are parts of others and that
/// nobody else should see. It holds an empty tmpfs as its root, with one directory of the caller's at "base", and goes
/// with the process, however that ends.
class MountSpace {
public:
    /// @param directory borrowed; what is mounted below it is not taken along
    /// Needs CAP_SYS_ADMIN. Any thread. Errors: Denied
    static Result<MountSpace> make(int directory);

    /// Runs `body` on a thread whose root and working directory are the root of the space; waits for it. Descriptors
    /// are shared; detached mounts may be handed in and out. There is no /proc inside. Any thread.
    Result<> run(const std::function<Result<>()>& body) const;

private:
    explicit MountSpace(Fd ns) : ns_{std::move(ns)} {}
    Fd ns_;
};

/// Runs `body` on a thread in another mount namespace, at its root; waits for it. Descriptors are shared. Any thread.
Result<> run_in_mount_namespace(const Fd& ns, const std::function<Result<>()>& body);

} // namespace coppice::os
