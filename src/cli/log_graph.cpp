#include "log_graph.h"

#include <algorithm>
#include <limits>

namespace coppice::cli {

namespace {

constexpr std::size_t kElsewhere = std::numeric_limits<std::size_t>::max();

/// `count` lanes that go straight on: "| | ".
std::string straight(std::size_t count)
{
    std::string lanes;
    lanes.reserve(2 * count);
    for (std::size_t i = 0; i < count; ++i)
        lanes += "| ";
    return lanes;
}

/// `count` lanes that move one to the left, from behind a space that is free: "/ / ".
std::string moving(std::size_t count)
{
    std::string lanes;
    lanes.reserve(2 * count);
    for (std::size_t i = 0; i < count; ++i)
        lanes += "/ ";
    return lanes;
}

std::string trimmed(std::string line)
{
    line.erase(line.find_last_not_of(' ') + 1);
    return line;
}

} // namespace

std::vector<std::size_t> drawing_order(const std::vector<GraphParent>& parents)
{
    std::vector<std::size_t> waiting(parents.size(), 0); // children not drawn yet
    for (const GraphParent& parent : parents)
        if (parent.kind == GraphParent::Kind::Listed) ++waiting[parent.index];
    std::vector<std::size_t> order;
    order.reserve(parents.size());
    const auto tips = waiting; // `waiting` becomes 0 for all others, too
    for (std::size_t tip = 0; tip < parents.size(); ++tip) {
        if (tips[tip] != 0) continue;
        for (std::size_t at = tip;;) {
            order.push_back(at);
            const GraphParent& parent = parents[at];
            if (parent.kind != GraphParent::Kind::Listed || --waiting[parent.index] > 0) break;
            at = parent.index;
        }
    }
    return order;
}

std::size_t LogGraph::lane_of(std::size_t index) const
{
    return static_cast<std::size_t>(std::find(lanes_.begin(), lanes_.end(), index) - lanes_.begin());
}

/// Lane `from` goes into lane `into`, left of it; those right of `from` move one to the left. Over a distance it goes
/// as in git: along the feet of the lanes between ("| |_|/"), then into its goal ("|/| |").
std::vector<std::string> LogGraph::join(std::size_t into, std::size_t from) const
{
    const std::size_t behind = lanes_.size() - from - 1;
    if (from - into == 1) return {trimmed(straight(into) + "|/ " + moving(behind))};
    std::string first = straight(into) + "| ";
    for (std::size_t lane = into + 1; lane < from; ++lane)
        first += lane + 1 < from ? "|_" : "|/";
    std::string second = straight(into) + "|/";
    for (std::size_t lane = into + 1; lane < from; ++lane)
        second += "| ";
    return {trimmed(first + ' ' + moving(behind)), trimmed(second + straight(behind))};
}

GraphRow LogGraph::add(std::size_t index, GraphParent parent)
{
    const std::size_t own = lane_of(index);
    if (own == lanes_.size()) lanes_.push_back(index); // a tip
    const std::size_t behind = lanes_.size() - own - 1;
    const bool goes_on = parent.kind != GraphParent::Kind::None;
    GraphRow row{.node = straight(own) + "* " + straight(behind),
                 .more = straight(own) + (goes_on ? "| " : "  ") + straight(behind),
                 .joints = {}};
    const std::size_t other = parent.kind == GraphParent::Kind::Listed ? lane_of(parent.index) : lanes_.size();
    if (!goes_on) {
        if (behind > 0) row.joints.push_back(trimmed(straight(own) + ' ' + moving(behind)));
        lanes_.erase(lanes_.begin() + static_cast<std::ptrdiff_t>(own));
    } else if (other == lanes_.size()) {
        lanes_[own] = parent.kind == GraphParent::Kind::Listed ? parent.index : kElsewhere;
    } else {
        const auto [into, from] = std::minmax(own, other);
        row.joints = join(into, from);
        lanes_[into] = parent.index;
        lanes_.erase(lanes_.begin() + static_cast<std::ptrdiff_t>(from));
    }
    return row;
}

} // namespace coppice::cli
