#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

/// Draws a forest of snapshots as `git log --graph` does. Pure; each snapshot has one parent at most.
namespace coppice::cli {

/// Where a snapshot's parent is in the list that is drawn.
struct GraphParent {
    enum class Kind : unsigned char { None, Listed, Elsewhere }; ///< Elsewhere: beyond the end of a cut list
    Kind kind = Kind::None;
    std::size_t index = 0; ///< of Listed
};

/// The order to draw in: from the newest tip down to the first fork that has another line to it, then the next tip;
/// every snapshot after all of its children. Linear. What is in a circle, which no tree has, is left out.
/// @param parents of the snapshots, newest first
std::vector<std::size_t> drawing_order(const std::vector<GraphParent>& parents);

/// What stands in front of the text of one snapshot.
struct GraphRow {
    std::string node;                ///< "| * | ", in front of its first line
    std::string more;                ///< "| | | ", in front of its further lines
    std::vector<std::string> joints; ///< lines of their own behind it: "|/ /", where lanes join or move; 2 at most
};

/// The lanes: each waits for a parent, no two for the same one. Work per row is that of its length.
class LogGraph {
public:
    /// Takes the next snapshot; those that name it as parent have been taken before.
    GraphRow add(std::size_t index, GraphParent parent);

private:
    [[nodiscard]] std::size_t lane_of(std::size_t index) const;
    [[nodiscard]] std::vector<std::string> join(std::size_t into, std::size_t from) const;
    std::vector<std::size_t> lanes_; ///< index of the snapshot that each waits for; kElsewhere
};

} // namespace coppice::cli
