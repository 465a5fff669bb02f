#include "mountinfo.h"

#include "coppice/base/text.h"

namespace coppice::os {

std::vector<MountLine> parse_mountinfo(std::string_view table)
{
    std::vector<MountLine> mounts;
    while (!table.empty()) {
        auto line = next_part(table, '\n');
        // A number of optional fields, ended by a dash, divides the two halves.
        const auto dash = line.find(" - ");
        if (dash == std::string_view::npos) continue;
        auto after = line.substr(dash + 3);
        line = line.substr(0, dash);
        for (int skipped = 0; skipped < 2; ++skipped) // id, parent
            next_part(line, ' ');
        MountLine mount;
        mount.device = next_part(line, ' ');
        mount.root = next_part(line, ' ');
        mount.point = next_part(line, ' ');
        mount.flags = next_part(line, ' ');
        mount.tags = line;
        mount.type = next_part(after, ' ');
        mount.source = next_part(after, ' ');
        mount.options = next_part(after, ' ');
        if (!mount.point.empty() && !mount.options.empty()) mounts.push_back(mount);
    }
    return mounts;
}

std::string unescape_mount(std::string_view path)
{
    std::string plain;
    for (std::size_t i = 0; i < path.size(); ++i) {
        const auto is_digit = [&](std::size_t at, char most) { return path[at] >= '0' && path[at] <= most; };
        if (path[i] == '\\' && i + 3 < path.size() && is_digit(i + 1, '3') && is_digit(i + 2, '7') &&
            is_digit(i + 3, '7')) {
            plain += static_cast<char>((path[i + 1] - '0') * 64 + (path[i + 2] - '0') * 8 + (path[i + 3] - '0'));
            i += 3;
        } else {
            plain += path[i];
        }
    }
    return plain;
}

} // namespace coppice::os
