#pragma once

#include "coppice/base/result.h"
#include "coppice/runtime/state.h"

#include <nlohmann/json_fwd.hpp>

namespace coppice::runtime {

/// `linux.resources` with changes put over it. Members of `changes` that ask for nothing (see parse_limits) leave what
/// was; of lists by device, page size or interface each entry replaces the one of the same name.
void merge_resources(nlohmann::json& resources, const nlohmann::json& changes);

/// Errors: Unsupported when the container has none, so that it can be neither counted nor limited. (pause.cpp)
Result<> need_cgroup(const StateRecord& record);

} // namespace coppice::runtime
