#include "diff_text.h"

#include "coppice/base/json.h"
#include "coppice/base/units.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <sys/stat.h>

namespace coppice::cli {

namespace {

using Kind = FileChange::Kind;
using Colour = Paint::Colour;

constexpr std::array<std::pair<std::string_view, Kind>, 5> kKinds{{{"added", Kind::Added},
                                                                   {"removed", Kind::Removed},
                                                                   {"content", Kind::Content},
                                                                   {"attributes", Kind::Attributes},
                                                                   {"type", Kind::Type}}};

Result<FileChange> parse_change(const JsonNode& node)
{
    FileChange change;
    const auto kind_node = TRY(node.get("kind"));
    const auto word = TRY(kind_node.text());
    const auto* const kind =
        std::find_if(kKinds.begin(), kKinds.end(), [&](const auto& known) { return known.first == word; });
    if (kind == kKinds.end()) return fail(kind_node.complain("is no kind of change"));
    change.kind = kind->second;
    change.path = TRY(TRY(node.get("path")).text());
    change.old_mode = static_cast<std::uint32_t>(TRY(TRY(node.get("old_mode")).unsigned_integer(UINT32_MAX)));
    change.new_mode = static_cast<std::uint32_t>(TRY(TRY(node.get("new_mode")).unsigned_integer(UINT32_MAX)));
    change.old_bytes = TRY(TRY(node.get("old_bytes")).unsigned_integer());
    change.new_bytes = TRY(TRY(node.get("new_bytes")).unsigned_integer());
    return change;
}

Result<FileChanges> parse_all(const JsonNode& node)
{
    FileChanges diff;
    TRY(node.each("changes", [&diff](const JsonNode& change) -> Result<> {
        diff.changes.push_back(TRY(parse_change(change)));
        return {};
    }));
    diff.truncated = TRY(TRY(node.get("truncated")).boolean());
    for (const auto& [key, into] :
         {std::pair{"added", &diff.added}, std::pair{"removed", &diff.removed}, std::pair{"changed", &diff.changed},
          std::pair{"old_bytes", &diff.old_bytes}, std::pair{"new_bytes", &diff.new_bytes}})
        *into = TRY(TRY(node.get(key)).unsigned_integer());
    return diff;
}

std::string_view type_of(std::uint32_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG: return "file";
    case S_IFDIR: return "directory";
    case S_IFLNK: return "link";
    case S_IFIFO: return "pipe";
    case S_IFSOCK: return "socket";
    case S_IFCHR:
    case S_IFBLK: return "device";
    default: return "nothing";
    }
}

std::string octal(std::uint32_t mode, int digits)
{
    std::array<char, 16> text{};
    std::snprintf(text.data(), text.size(), "%0*o", digits, mode);
    return text.data();
}

constexpr std::uint32_t kPermissions = 07777;

std::string attributes_text(const FileChange& change)
{
    const auto before = change.old_mode & kPermissions;
    const auto after = change.new_mode & kPermissions;
    return before == after ? "owner, time or extended attributes"
                           : cat("mode ", octal(before, 4), " -> ", octal(after, 4));
}

std::string what_changed(const FileChange& change)
{
    switch (change.kind) {
    case Kind::Added:
        return S_ISREG(change.new_mode) ? format_bytes(change.new_bytes) : std::string{type_of(change.new_mode)};
    case Kind::Removed:
        return S_ISREG(change.old_mode) ? format_bytes(change.old_bytes) : std::string{type_of(change.old_mode)};
    case Kind::Content:
        if (!S_ISREG(change.new_mode)) return std::string{type_of(change.new_mode)};
        return cat(format_bytes(change.old_bytes), " -> ", format_bytes(change.new_bytes));
    case Kind::Attributes: return attributes_text(change);
    case Kind::Type: break;
    }
    return cat(type_of(change.old_mode), " -> ", type_of(change.new_mode));
}

struct Letter {
    std::string_view text;
    Colour colour;
};
Letter letter_of(Kind kind)
{
    switch (kind) {
    case Kind::Added: return {"A", Colour::Green};
    case Kind::Removed: return {"D", Colour::Red};
    case Kind::Content: return {"M", Colour::Yellow};
    case Kind::Attributes: return {"m", Colour::Yellow};
    case Kind::Type: break;
    }
    return {"T", Colour::Cyan};
}

/// "..." and the end of a name that is too long, as git does.
std::string shortened(std::string name, std::size_t most)
{
    if (name.size() <= most) return name;
    constexpr std::string_view kDots = "...";
    if (most <= kDots.size()) return name.substr(name.size() - most);
    const auto begin = name.size() - (most - kDots.size());
    return cat(kDots, name.substr(begin));
}

std::string padded(std::string text, std::size_t width)
{
    if (text.size() < width) text.append(width - text.size(), ' ');
    return text;
}

struct StatLine {
    std::string name, amount;
    std::uint64_t bytes = 0; ///< of the difference
    bool grew = true;
};

StatLine stat_line_of(const FileChange& change)
{
    StatLine line{.name = quoted_path(change.path), .amount = {}};
    line.grew = change.new_bytes >= change.old_bytes;
    line.bytes = line.grew ? change.new_bytes - change.old_bytes : change.old_bytes - change.new_bytes;
    if (line.bytes > 0)
        line.amount = cat(line.grew ? '+' : '-', format_bytes(line.bytes));
    else if (change.kind == Kind::Content)
        line.amount = cat('=', format_bytes(change.new_bytes));
    else
        line.amount = change.kind == Kind::Attributes ? "attributes" : what_changed(change);
    return line;
}

/// As many characters of `most` as `bytes` is of `all`, one at least. Never overflows.
std::size_t bar_length(std::uint64_t bytes, std::uint64_t all, std::size_t most)
{
    if (bytes == 0 || all == 0 || most == 0) return 0;
    const double part = static_cast<double>(bytes) / static_cast<double>(all);
    return std::clamp<std::size_t>(static_cast<std::size_t>(std::lround(part * static_cast<double>(most))), 1, most);
}

} // namespace

Result<FileChanges> parse_changes(const nlohmann::json& document)
{
    auto diff = parse_all(JsonNode{document});
    if (!diff) return fail(std::move(diff).error().as(ErrorKind::Corrupt).with("the answer of coppiced"));
    return diff;
}

std::string change_lines(const FileChanges& diff, const Paint& paint)
{
    constexpr std::size_t kMostName = 60;
    std::size_t width = 0;
    for (const FileChange& change : diff.changes)
        width = std::max(width, std::min(quoted_path(change.path).size(), kMostName));
    std::string text;
    for (const FileChange& change : diff.changes) {
        const Letter letter = letter_of(change.kind);
        text += cat(paint(letter.colour, letter.text), "  ", padded(quoted_path(change.path), width), "  ",
                    what_changed(change), '\n');
    }
    return text;
}

std::string stat_lines(const FileChanges& diff, std::size_t columns, const Paint& paint)
{
    std::vector<StatLine> lines;
    std::size_t names = 0, amounts = 0;
    std::uint64_t most = 0;
    for (const FileChange& change : diff.changes) {
        lines.push_back(stat_line_of(change));
        names = std::max(names, lines.back().name.size());
        if (lines.back().bytes > 0) amounts = std::max(amounts, lines.back().amount.size()); // a bar follows
        most = std::max(most, lines.back().bytes);
    }
    constexpr std::size_t kFrame = 5, kLeastBar = 6, kMostBar = 40, kLeastName = 10; // " name | amount bar"
    if (columns > 0) {
        const std::size_t taken = kFrame + amounts + kLeastBar;
        names = std::min(names, columns > taken + kLeastName ? columns - taken : kLeastName);
    }
    const std::size_t used = kFrame + names + amounts;
    const std::size_t bar = columns == 0 ? kMostBar : std::min(kMostBar, columns > used ? columns - used : 0);
    std::string text;
    for (const StatLine& line : lines) {
        const std::string marks(bar_length(line.bytes, most, bar), line.grew ? '+' : '-');
        const std::string space = marks.empty() ? "" : std::string(amounts - line.amount.size() + 1, ' ');
        text += cat(' ', padded(shortened(line.name, names), names), " | ", line.amount, space,
                    paint(line.grew ? Colour::Green : Colour::Red, marks), '\n');
    }
    return text;
}

std::string diff_summary(const FileChanges& diff)
{
    return cat(diff.added, " added, ", diff.removed, " removed, ", diff.changed, " changed; ",
               format_bytes(diff.old_bytes), " -> ", format_bytes(diff.new_bytes));
}

std::string quoted_path(std::string_view path)
{
    if (path.empty()) return "."; // the root
    std::string quoted;
    bool needs_quotes = false;
    for (const char c : path) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\')
            quoted += cat('\\', c);
        else if (c == '\n')
            quoted += "\\n";
        else if (c == '\t')
            quoted += "\\t";
        else if (byte < 0x20 || byte == 0x7f)
            quoted += cat('\\', octal(byte, 3));
        else {
            quoted += c;
            continue;
        }
        needs_quotes = true;
    }
    return needs_quotes ? cat('"', quoted, '"') : quoted;
}

bool has_hunks(const FileChange& change)
{
    const bool is_file =
        (change.old_mode == 0 || S_ISREG(change.old_mode)) && (change.new_mode == 0 || S_ISREG(change.new_mode));
    return is_file && (change.kind == Kind::Added || change.kind == Kind::Removed || change.kind == Kind::Content);
}

std::string old_label(const FileChange& change)
{
    return change.kind == Kind::Added ? "/dev/null" : quoted_path("a/" + change.path);
}

std::string new_label(const FileChange& change)
{
    return change.kind == Kind::Removed ? "/dev/null" : quoted_path("b/" + change.path);
}

std::string patch_header(const FileChange& change)
{
    const bool modes_differ = change.old_mode != change.new_mode;
    const bool is_mode = change.kind == Kind::Attributes && S_ISREG(change.new_mode) && modes_differ;
    if (!has_hunks(change) && !is_mode) {
        const std::string_view verb = change.kind == Kind::Added     ? " added: "
                                      : change.kind == Kind::Removed ? " removed: "
                                                                     : ": ";
        return cat("# ", quoted_path(change.path), verb, what_changed(change), '\n');
    }
    std::string header =
        cat("diff --git ", quoted_path("a/" + change.path), ' ', quoted_path("b/" + change.path), '\n');
    if (change.kind == Kind::Added)
        header += cat("new file mode ", octal(change.new_mode, 6), '\n');
    else if (change.kind == Kind::Removed)
        header += cat("deleted file mode ", octal(change.old_mode, 6), '\n');
    else if (modes_differ)
        header += cat("old mode ", octal(change.old_mode, 6), "\nnew mode ", octal(change.new_mode, 6), '\n');
    return header;
}

bool is_text(std::string_view content)
{
    constexpr std::size_t kLooked = 8000;
    return content.substr(0, kLooked).find('\0') == std::string_view::npos;
}

} // namespace coppice::cli
