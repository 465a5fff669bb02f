#pragma once

#include "coppice/os/fd.h"
#include "coppice/runtime/spec.h"

#include <vector>

namespace coppice::runtime {

/// The device nodes of a container: the six that every one has, and those of its specification.
/// Empty when its /dev comes from the host as a bind mount: then it is the host's business.
std::vector<DeviceSpec> plan_devices(const Spec& spec);

/// In the creating process, for a container in a user namespace, where nobody may make device nodes: the host's
/// nodes (FIFOs are made inside) as detached mounts, in the order of the plan. Each is checked to be the very device.
Result<std::vector<os::Fd>> open_device_mounts(const std::vector<DeviceSpec>& plan);

/// In init: makes the nodes below `root`, by mounting `mounts` when there are any, and the links that programs expect
/// in /dev. A /dev that is a link is refused.
Result<> make_devices(int root, const std::vector<DeviceSpec>& plan, std::vector<os::Fd> mounts);

/// Rules that allow the six devices and ptys, and making (not opening) any node. They stand before the rules of the
/// specification, as in every other runtime.
std::vector<os::DeviceRule> default_device_rules();

} // namespace coppice::runtime
