#pragma once

#include "coppice/os/cgroup_stats.h"

#include <nlohmann/json_fwd.hpp>

namespace coppice::runtime {

/// Statistics in the form of `runc events`, members in its order. What is 0 and optional there is left out.
nlohmann::ordered_json to_json(const os::CgroupStats& stats);

} // namespace coppice::runtime
