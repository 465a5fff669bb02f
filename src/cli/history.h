#pragma once

#include "coppice/base/result.h"
#include "listing.h"
#include "log_graph.h"
#include "paint.h"

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

/// Snapshots as `coppice log` shows them.
namespace coppice::cli {

struct LoggedSnapshot {
    std::string id, vdisk, parent; ///< parent: empty for none
    std::string state, created, author, message;
    std::uint64_t bytes = 0;
    std::vector<std::string> heads; ///< references that lead to it: debian:3, debian@release, web-1
};

/// Errors: Corrupt, naming the member
Result<std::vector<LoggedSnapshot>> parse_snapshots(const nlohmann::json& list);

/// Columns of a list of snapshots.
const std::vector<Column>& snapshot_columns();

struct LogStyle {
    bool graph = false, one_line = false;
    /// Whether the list was cut at its end: parents that are not in it exist, and their lanes stay open.
    bool is_cut = false;
};
/// @param snapshots newest first
std::string log_text(const std::vector<LoggedSnapshot>& snapshots, const LogStyle& style, const Paint& paint);

} // namespace coppice::cli
