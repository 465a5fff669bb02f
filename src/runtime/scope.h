#pragma once

#include "coppice/os/systemd_scope.h"
#include "coppice/runtime/spec.h"
#include "coppice/runtime/state.h"

namespace coppice::runtime {

/// The cgroup that systemd will make for a container.
struct PlannedScope {
    os::Systemd systemd;
    os::ScopeName name;
    std::vector<os::dbus::Property> properties; ///< limits, and what annotations ask for
};

/// Asks systemd where the scope will be, and notes that in `record`. Makes nothing.
/// Errors: Unsupported (no cgroup v2, no systemd), Invalid (cgroupsPath, annotations, limits), Denied, Unavailable
Result<PlannedScope> plan_scope(const Spec& spec, const os::CgroupLayout& layout, StateRecord& record);

/// Has systemd make the scope around the container's init. The directory comes back open.
Result<os::Fd> start_scope(PlannedScope& scope, const StateRecord& record);

/// Ends the scope of a container whose processes are gone. Absence is fine.
Result<> stop_scope(const StateRecord& record);

/// Tells systemd of new limits of a running container, so that it does not write the old ones again. Nothing to do for
/// a container without a scope.
/// @param all what holds together with `limits`
Result<> set_scope_properties(const StateRecord& record, const os::CgroupLimits& limits, const os::CgroupLimits& all);

} // namespace coppice::runtime
