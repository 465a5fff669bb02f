#include "history.h"

#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "local_time.h"

#include <numeric>
#include <string_view>
#include <unordered_map>

namespace coppice::cli {

namespace {

using Colour = Paint::Colour;
using Lines = std::vector<std::string>;

std::string heads_text(const LoggedSnapshot& snapshot, const Paint& paint)
{
    std::string text;
    for (const std::string& head : snapshot.heads)
        text += cat(text.empty() ? " (" : ", ", paint(Colour::Green, printable(head)));
    return text.empty() ? text : text + ')';
}

/// Nobody knows it before it is sealed.
std::string size_of(const LoggedSnapshot& snapshot)
{
    return snapshot.bytes > 0 || snapshot.state == "sealed" ? format_bytes(snapshot.bytes) : "-";
}

std::string one_line(const LoggedSnapshot& snapshot, const Paint& paint)
{
    return cat(paint(Colour::Yellow, printable(short_id(snapshot.id))), heads_text(snapshot, paint), "  ",
               printable(local_time(snapshot.created)), "  ", printable(snapshot.author), "  ", size_of(snapshot), "  ",
               printable(first_line(snapshot.message)));
}

Lines many_lines(const LoggedSnapshot& snapshot, const Paint& paint)
{
    Lines lines{cat(paint(Colour::Yellow, cat("snapshot ", printable(snapshot.id))), heads_text(snapshot, paint)),
                cat("Vdisk:  ", printable(snapshot.vdisk)),
                cat("Author: ", printable(snapshot.author)),
                cat("Date:   ", printable(local_time(snapshot.created))),
                cat("Size:   ", size_of(snapshot), ", ", printable(snapshot.state)),
                ""};
    if (snapshot.message.empty()) return lines;
    for (const std::string_view line : split(snapshot.message, '\n'))
        lines.push_back(cat("    ", printable(line)));
    lines.emplace_back();
    return lines;
}

std::vector<GraphParent> parents_of(const std::vector<LoggedSnapshot>& snapshots, bool is_cut)
{
    std::unordered_map<std::string_view, std::size_t> places;
    for (std::size_t i = 0; i < snapshots.size(); ++i)
        places.emplace(snapshots[i].id, i);
    std::vector<GraphParent> parents(snapshots.size());
    for (std::size_t i = 0; i < snapshots.size(); ++i) {
        if (snapshots[i].parent.empty()) continue;
        const auto found = places.find(snapshots[i].parent);
        if (found != places.end())
            parents[i] = {.kind = GraphParent::Kind::Listed, .index = found->second};
        else if (is_cut)
            parents[i].kind = GraphParent::Kind::Elsewhere;
    }
    return parents;
}

void add_line(std::string& text, std::string_view lanes, std::string_view words)
{
    text += lanes;
    text += words;
    text.erase(text.find_last_not_of(' ') + 1);
    text += '\n';
}

} // namespace

const std::vector<Column>& snapshot_columns()
{
    using Kind = Column::Kind;
    static const std::vector<Column> columns{{"id", Kind::Id},
                                             {"vdisk"},
                                             {"parent", Kind::Id},
                                             {"state"},
                                             {"created", Kind::Time},
                                             {"size", Kind::Bytes, "bytes"},
                                             {"author"},
                                             {"versions", Kind::Words},
                                             {"tags", Kind::Words},
                                             {"branches", Kind::Words},
                                             {"message"}};
    return columns;
}

std::string log_text(const std::vector<LoggedSnapshot>& snapshots, const LogStyle& style, const Paint& paint)
{
    const auto parents = parents_of(snapshots, style.is_cut);
    std::vector<std::size_t> order(snapshots.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    if (style.graph) order = drawing_order(parents);
    LogGraph graph;
    std::string text;
    for (const std::size_t index : order) {
        const LoggedSnapshot& snapshot = snapshots[index];
        const GraphRow row = style.graph ? graph.add(index, parents[index]) : GraphRow{};
        const Lines lines = style.one_line ? Lines{one_line(snapshot, paint)} : many_lines(snapshot, paint);
        for (std::size_t i = 0; i < lines.size(); ++i)
            add_line(text, i == 0 ? row.node : row.more, lines[i]);
        for (const std::string& joint : row.joints)
            add_line(text, joint, "");
    }
    return text;
}

} // namespace coppice::cli
