#pragma once

#include "coppice/os/features.h"

#include <string>
#include <vector>

namespace coppice::instance {

/// State root of `coppice-runtime` when none is given; leftovers are looked for there, too.
inline constexpr const char* kContainerRoot = "/run/coppice-runtime";

/// What this host can do.
struct HostReport {
    std::string kernel;  ///< release
    std::string cgroups; ///< "v2", "hybrid (controllers on v1)", "v1" or "none"
    std::vector<os::Feature> features;
    [[nodiscard]] bool is_able() const; ///< nothing that is required is missing
};

/// Tries everything, for a store at `root` or where one would be made. Forks: needs a single-threaded caller.
HostReport examine_host(const std::string& root);

} // namespace coppice::instance
