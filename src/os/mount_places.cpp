#include "coppice/os/mount_places.h"

#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "coppice/os/file.h"
#include "coppice/os/mount.h"
#include "coppice/os/mount_space.h"
#include "mountinfo.h"

#include <algorithm>
#include <fcntl.h>
#include <set>
#include <string_view>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <utility>

namespace coppice::os {

namespace {

/// The numbers of peer groups in a mount's tags, of those that begin with `word` ("shared:"), or of all.
std::vector<std::string_view> groups_of(std::string_view tags, std::string_view word = {})
{
    std::vector<std::string_view> groups;
    for (const std::string_view tag : words_of(tags))
        if (tag.starts_with(word)) groups.push_back(tag.substr(std::min(tag.find(':') + 1, tag.size())));
    return groups;
}

struct FoundPlace {
    MountPlace place;
    std::string tags;
};

/// Peers and slaves of our mounts at the same path, and theirs in turn.
void mark_followers(std::vector<FoundPlace>& found)
{
    std::set<std::pair<std::string, std::string>> led; // path and group
    const auto lead = [&](const FoundPlace& one) {
        bool more = false;
        for (const auto group : groups_of(one.tags, "shared:"))
            more = led.emplace(one.place.point, group).second || more;
        return more;
    };
    for (const FoundPlace& one : found)
        if (one.place.process == 0) lead(one);
    for (bool more = true; more;) {
        more = false;
        for (FoundPlace& one : found) {
            const auto groups = groups_of(one.tags);
            if (one.place.process == 0 || one.place.follows) continue;
            one.place.follows = std::any_of(groups.begin(), groups.end(), [&](std::string_view group) {
                return led.contains({one.place.point, std::string{group}});
            });
            if (one.place.follows) more = lead(one) || more;
        }
    }
}

} // namespace

std::string MountPlace::text() const { return process == 0 ? point : cat(point, " (process ", process, ")"); }

Result<std::vector<MountPlace>> find_mounts(std::uint64_t device, std::string_view source)
{
    const std::string wanted = cat(major(device), ':', minor(device));
    std::vector<FoundPlace> found;
    std::set<std::string> seen; // namespaces
    std::vector<std::string> processes = TRY(list_subdirectories(kCwd, "/proc"));
    processes.insert(processes.begin(), "self"); // ours are told without a process
    for (const std::string& process : processes) {
        const bool own = process == "self";
        const auto pid = own ? Result<std::int64_t>{0} : parse_integer(process, 1, INT32_MAX);
        if (!pid) continue;
        std::string space(64, '\0');
        const auto length = ::readlink(cat("/proc/", process, "/ns/mnt").c_str(), space.data(), space.size());
        if (length <= 0) continue; // it has ended
        space.resize(static_cast<std::size_t>(length));
        if (!seen.insert(space).second) continue;
        const auto table = read_file(kCwd, cat("/proc/", process, "/mountinfo"));
        if (!table) continue;
        for (const MountLine& mount : parse_mountinfo(*table))
            if (mount.device == wanted && unescape_mount(mount.source) == source)
                found.push_back({.place = {.point = unescape_mount(mount.point),
                                           .process = static_cast<pid_t>(*pid),
                                           .read_only = cat(',', mount.flags, ',').find(",ro,") != std::string::npos},
                                 .tags = std::string{mount.tags}});
    }
    mark_followers(found);
    std::vector<MountPlace> places;
    places.reserve(found.size());
    for (FoundPlace& one : found)
        places.push_back(std::move(one.place));
    return places;
}

Result<> set_place_read_only(const MountPlace& place, std::uint64_t device, bool read_only)
{
    // Opened from here, where it can be named; changed from within its namespace, as the kernel demands.
    const Fd mount{::open(cat("/proc/", place.process, "/root", place.point).c_str(),
                          O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC)};
    if (!mount.is_open()) return fail_os(errno, place.text());
    struct stat status{};
    if (::fstat(mount.get(), &status) < 0) return fail_os(errno, place.text());
    if (status.st_dev != device) return fail(ErrorKind::Conflict, cat("something else is mounted at ", place.text()));
    const auto space = TRY(open_at(kCwd, cat("/proc/", place.process, "/ns/mnt"), O_RDONLY));
    return with_context(run_in_mount_namespace(space,
                                               [&] {
                                                   return set_mount_attributes(
                                                       mount.get(), read_only ? mount_attr::kReadOnly : 0U,
                                                       read_only ? 0U : mount_attr::kReadOnly, false);
                                               }),
                        place.text());
}

} // namespace coppice::os
