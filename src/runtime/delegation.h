#pragma once

#include "rootfs.h"

namespace coppice::runtime {

/// A container that sees its own cgroup v2, and nothing above it, writable, is meant to look after it itself, as an
/// init system does: its user becomes the owner. Limits remain the host's. All others are left alone. Source:
/// config-linux.md "Cgroup ownership"
Result<> delegate_cgroup(const Spec& spec, const RootfsPlan& plan, const os::CgroupPaths& cgroup);

} // namespace coppice::runtime
