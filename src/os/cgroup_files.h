#pragma once

#include "coppice/os/cgroup.h"

/// What the two kernels' interfaces have in common behind cgroup.h; private to the module.
namespace coppice::os::cgroup_files {

/// Writes one limit, naming it in the error.
Result<> write_limit(const std::string& directory, const char* file, const std::string& value, const char* what);
Result<> make_path(const std::string& directory);
/// The number behind `key ` in a flat-keyed file such as memory.events.
std::optional<std::uint64_t> keyed_number(const std::string& path, std::string_view key);

// cgroup_v1.cpp
std::vector<std::string> v1_controllers_for(const CgroupLimits& limits);
Result<> apply_v1(const std::map<std::string, std::string>& directories, const CgroupLimits& limits);

// cgroup_v2.cpp
std::vector<std::string> v2_controllers_for(const CgroupLimits& limits);
/// Controllers that can be switched on for children of the hierarchy's root.
Result<std::string> v2_root_controllers(const std::string& mount);
/// Switches `controllers` on in every directory above `directory`.
Result<> enable_v2_controllers(const std::string& directory, const std::vector<std::string>& controllers);
Result<> apply_v2(const std::string& directory, const CgroupLimits& limits);

} // namespace coppice::os::cgroup_files
