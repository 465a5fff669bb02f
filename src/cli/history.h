#pragma once

#include "history_reader.h"
#include "listing.h"
#include "log_graph.h"
#include "paint.h"

#include <string>
#include <vector>

/// Snapshots as `coppice log` shows them.
namespace coppice::cli {

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
