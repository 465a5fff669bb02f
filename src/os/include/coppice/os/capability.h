#pragma once

#include "coppice/base/result.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

/// Capability sets of the calling thread. Source: capabilities(7), capset(2)
namespace coppice::os {

/// Bit n is capability number n.
using CapabilityMask = std::uint64_t;

struct CapabilitySets {
    CapabilityMask bounding = 0, effective = 0, permitted = 0, inheritable = 0, ambient = 0;
};

/// "CAP_NET_ADMIN" to its bit; 0 when the name is unknown. Upper case, with the prefix, as OCI documents write it.
CapabilityMask find_capability(std::string_view name);
std::string capability_names(CapabilityMask mask); ///< joined by a space, for messages
const std::vector<std::string>& all_capability_names();

/// Mask of the capabilities this kernel knows. Source: /proc/sys/kernel/cap_last_cap
CapabilityMask supported_capabilities();
Result<CapabilitySets> current_capabilities();

/// Takes every capability outside `keep` out of the bounding set, for good. Needs CAP_SETPCAP.
Result<> limit_bounding_set(CapabilityMask keep);
/// Sets effective, permitted and inheritable, then the ambient set. Errors: Denied (a capability that we do not have)
Result<> set_capabilities(const CapabilitySets& sets);
/// Makes all permitted capabilities effective again, after setfsuid(2) or setresuid(2) took some away.
Result<> raise_effective_capabilities();

} // namespace coppice::os
