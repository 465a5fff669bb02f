#include "cgroup_files.h"
#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/os/file.h"

#include <cerrno>

// v2 freezes by cgroup.freeze (Linux 5.2), which lets a frozen process be killed. The freezer of v1 is for hosts
// without a v2 hierarchy. Source: the kernel's cgroup-v2.rst, "cgroup.freeze"; cgroup-v1/freezer-subsystem.rst
namespace coppice::os {

using namespace cgroup_files;

namespace {

constexpr int kPauseMs = 2;

struct Freezer {
    std::string file;
    const char* frozen;
    const char* thawed;
};

Freezer freezer_of(const CgroupPaths& paths)
{
    if (!paths.v2.empty()) return {.file = paths.v2 + "/cgroup.freeze", .frozen = "1", .thawed = "0"};
    const auto found = paths.v1.find("freezer");
    if (found == paths.v1.end()) return {.file = {}, .frozen = "", .thawed = ""};
    return {.file = found->second + "/freezer.state", .frozen = "FROZEN", .thawed = "THAWED"};
}

Result<Freezer> find_freezer(const CgroupPaths& paths)
{
    auto freezer = freezer_of(paths);
    if (freezer.file.empty() || !exists(kCwd, freezer.file))
        return fail(Error{ErrorKind::Unsupported, "this host cannot freeze processes"}.hint(
            "it needs Linux 5.2 and a cgroup v2 hierarchy, or the freezer controller of cgroup v1"));
    return freezer;
}

/// Whether all stand still.
Result<bool> all_frozen(const CgroupPaths& paths, const Freezer& freezer)
{
    if (!paths.v2.empty()) {
        const std::string events = paths.v2 + "/cgroup.events";
        if (keyed_number(events, "populated") != 1U) // it ends, or has gone: that is never said to be frozen
            return fail(ErrorKind::Conflict, cat("there are no processes in ", paths.v2, " any more"));
        return keyed_number(events, "frozen") == 1U;
    }
    const auto state = TRY(read_file(kCwd, freezer.file, 64));
    if (state.starts_with(freezer.frozen)) return true;
    TRY(write_control(kCwd, freezer.file, freezer.frozen)); // what was forked meanwhile is caught by asking again
    return false;
}

} // namespace

Result<> freeze_cgroup(const CgroupPaths& paths)
{
    const auto freezer = TRY(find_freezer(paths));
    TRY_DOING("freeze", write_control(kCwd, freezer.file, freezer.frozen));
    for (int waited = 0; waited < kPatienceMs; waited += kPauseMs) {
        if (TRY(all_frozen(paths, freezer))) return {};
        sleep_ms(kPauseMs);
    }
    TRY_DOING("thaw", write_control(kCwd, freezer.file, freezer.thawed));
    return fail(
        Error{ErrorKind::Unavailable, cat("not every process in ", tracking_directory(paths), " can be frozen")}.hint(
            "one may be waiting for a device or for a file system; try again later"));
}

Result<> thaw_cgroup(const CgroupPaths& paths)
{
    const auto freezer = TRY(find_freezer(paths));
    return with_context(write_control(kCwd, freezer.file, freezer.thawed), "thaw");
}

Result<bool> is_frozen(const CgroupPaths& paths)
{
    const auto freezer = freezer_of(paths);
    if (freezer.file.empty()) return false;
    const auto state = read_file(kCwd, freezer.file, 64);
    if (state) return !state->starts_with(freezer.thawed);
    const int number = state.error().os_errno();
    if (number == ENOENT || number == ENODEV) return false; // gone, or a kernel that cannot freeze
    return fail(state.error());
}

} // namespace coppice::os
