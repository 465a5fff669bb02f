#pragma once

#include "coppice/os/fd.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace coppice::os {

/// One rule of a device list, as the OCI specification and the v1 devices controller write them.
struct DeviceRule {
    bool allow = false;
    char type = 'a';                           ///< 'b' block, 'c' character, 'a' both
    std::optional<std::uint32_t> major, minor; ///< empty matches any
    std::string access = "rwm";                ///< of r(ead), w(rite), m(knod)
    bool operator==(const DeviceRule&) const = default;
};

/// The rules as v1's files devices.allow and devices.deny take them, for example "c 1:3 rwm".
std::string to_v1_text(const DeviceRule& rule);

/// Lets a v2 cgroup's processes use only the devices that the rules allow; what no rule names is refused and a later
/// rule overrides an earlier one. Works on a hybrid host too. The filter lives as long as the cgroup.
/// Source: BPF_PROG_TYPE_CGROUP_DEVICE in bpf(2). Errors: Denied (no CAP_BPF/CAP_SYS_ADMIN), Unsupported
Result<> attach_device_filter(int cgroup, const std::vector<DeviceRule>& rules);

} // namespace coppice::os
