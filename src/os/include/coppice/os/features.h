#pragma once

#include "coppice/base/result.h"

#include <string>
#include <vector>

namespace coppice::os {

/// One thing that Coppice wants from a kernel, found out by trying it, not by version numbers.
struct Feature {
    std::string name; ///< for example "id-mapped mounts"
    bool available = false;
    bool required = false; ///< nothing runs without it
    std::string needed_for;
    std::string otherwise; ///< what happens without it, or how to get it
};

/// Tries everything. Takes some milliseconds; forks; needs a single-threaded caller. Leaves nothing behind.
/// @param state_directory where layers will lie: its file system must be able to map ids
std::vector<Feature> probe_features(const std::string& state_directory);

/// Kernel release as uname(2) tells it.
std::string kernel_release();

/// A name that each boot of the machine gets anew. Source: random(4), /proc/sys/kernel/random/boot_id
Result<std::string> boot_id();

} // namespace coppice::os
