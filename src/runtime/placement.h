#pragma once

#include "channel.h"
#include "coppice/os/cgroup.h"
#include "coppice/runtime/container.h"
#include "scope.h"

#include <optional>

namespace coppice::runtime {

/// The cgroup of a container that is being created: planned before anything exists, made by us or by systemd.
class Placement {
public:
    /// Notes in `record` where the cgroup will be. Makes nothing. Errors: Conflict (in use), Invalid, Unsupported
    /// @param host_root see os::is_host_root; others go without a cgroup where they have no right to one
    static Result<Placement> plan(const Spec& spec, const CreateRequest& request, const os::CgroupLayout& layout,
                                  bool host_root, StateRecord& record);

    /// Before the birth: makes the cgroup with its limits, to be born in. Not open when there is none to be born in.
    Result<os::Fd> make(const LinuxSpec& spec, StateRecord& record) const;
    /// systemd makes a cgroup around a process that is there already: the init, which waits for `place`.
    [[nodiscard]] bool comes_after_birth() const { return scope_.has_value(); }
    Result<> place(const LinuxSpec& spec, const StateRecord& record, const Channel& init);

private:
    Placement(CgroupDriver driver, bool host_root) : driver_{driver}, host_root_{host_root} {}
    CgroupDriver driver_;
    bool host_root_;
    std::optional<PlannedScope> scope_; ///< with the systemd driver
};

} // namespace coppice::runtime
