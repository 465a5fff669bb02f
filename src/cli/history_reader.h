#pragma once

#include "coppice/base/result.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace coppice::cli {

/// A snapshot as `coppice log` shows it.
struct LoggedSnapshot {
    std::string id, vdisk, parent; ///< parent: empty for none
    std::string state, created, author, message;
    std::uint64_t bytes = 0;
    std::vector<std::string> heads; ///< references that lead to it: debian:3, debian@release, web-1
};

/// Reads a list of snapshots as the API sends it, without making a document of it first, which would take longer than
/// all the rest of `log`. Members that it does not know are passed over.
/// Errors: Corrupt (no JSON, no list of snapshots, a member that is missing, doubled or of another type)
Result<std::vector<LoggedSnapshot>> read_snapshots(std::string_view text);

} // namespace coppice::cli
