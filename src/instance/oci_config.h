#pragma once

#include "coppice/instance/boot.h"
#include "coppice/instance/config.h"
#include "coppice/os/cgroup.h"
#include "coppice/os/id_map.h"
#include "device_nodes.h"

#include <string>
#include <sys/resource.h>

namespace coppice::instance {

/// The OCI config.json of an instance: namespaces of its own of every kind, podman's default capabilities, a default
/// system call filter, masked and read-only kernel files, and what was asked for above that.
/// @param cgroup absolute path in every hierarchy
/// @param open_files limit of open files that its processes start with
/// @param devices those of `config` as they are on the host now
/// @param own_files what comes with `config.boot` and `config.init`
std::string make_oci_config(const InstanceConfig& config, const os::UserMapping& mapping,
                            const os::CgroupLayout& layout, const std::string& cgroup, const rlimit& open_files,
                            const std::vector<DeviceNode>& devices = {}, const std::vector<OwnFile>& own_files = {});

} // namespace coppice::instance
