#pragma once

#include "coppice/os/features.h"

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace coppice::instance {

/// State root of `coppice-runtime` when none is given; leftovers are looked for there, too.
inline constexpr const char* kContainerRoot = "/run/coppice-runtime";

/// Which of several ways is taken here, and what a newer kernel would change.
struct ActivePath {
    std::string what, how;
    std::string better; ///< how to get a better one; empty: there is none
};

/// A program that some commands run.
struct Tool {
    std::string name, package; ///< of Debian
    std::string needed_for;
    bool available = false;
};

/// What this host can do.
struct HostReport {
    std::string kernel;  ///< release
    std::string cgroups; ///< "v2", "hybrid (controllers on v1)", "v1" or "none"
    std::vector<os::Feature> features;
    std::vector<ActivePath> paths;
    std::vector<Tool> tools;
    [[nodiscard]] bool is_able() const; ///< nothing that is required is missing
};

/// Tries everything, for a store at `root` or where one would be made. Forks: needs a single-threaded caller.
HostReport examine_host(const std::string& root);

/// Members kernel, cgroups, features, paths, tools: docs/reference/openapi.json, DoctorReport.
nlohmann::json to_json(const HostReport& report);

} // namespace coppice::instance
