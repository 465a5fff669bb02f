#pragma once

#include <string>
#include <string_view>
#include <vector>

/// /proc/PID/mountinfo, private to the module. Source: proc_pid_mountinfo(5)
namespace coppice::os {

struct MountLine {
    std::string_view device;      ///< "0:42"
    std::string_view root, point; ///< directory of the file system that is mounted, and where; see `unescape_mount`
    std::string_view flags;       ///< of the mount: "ro,nosuid"
    std::string_view tags;        ///< of propagation: "shared:1 master:2"
    std::string_view type, source;
    std::string_view options; ///< the file system's own, with commas between
};

/// The mounts in the order of the table. Lines that are not understood are left out.
std::vector<MountLine> parse_mountinfo(std::string_view table);

/// The table writes space, tab, newline and backslash of a path as \\ooo.
std::string unescape_mount(std::string_view path);

} // namespace coppice::os
