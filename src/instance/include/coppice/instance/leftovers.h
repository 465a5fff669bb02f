#pragma once

#include "coppice/instance/store.h"

#include <string>
#include <vector>

namespace coppice::instance {

/// Something that a killed process left behind.
struct Leftover {
    std::string what;  ///< for example "cgroup /sys/fs/cgroup/coppice/web"
    std::string where; ///< path
};

/// Looks for everything of ours that belongs to nobody any more: parts of instances and containers, cgroups. Changes
/// nothing. @param container_root state root of `coppice-runtime`, may be missing
Result<std::vector<Leftover>> find_leftovers(const InstanceStore& store, const std::string& container_root);

/// Removes all that `find_leftovers` finds. Errors: of the first thing that could not be removed; the others go.
Result<> remove_leftovers(const InstanceStore& store, const std::string& container_root);

/// Undoes what a dead supervisor left of one instance. Waits a moment for its last processes; an instance that runs is
/// left alone.
Result<> clean_up_dead(const InstanceStore& store, const std::string& name);

} // namespace coppice::instance
