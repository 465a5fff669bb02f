#include "coppice/os/cgroup_limits.h"

#include "cgroup_files.h"
#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "coppice/os/file.h"

#include <cerrno>
#include <set>

// Limits are lists of writes to control files (cgroup_v1.cpp, cgroup_v2.cpp); this is what writes them.
namespace coppice::os {

using namespace cgroup_files;

namespace {

/// A value that was replaced, to be written back.
struct Undo {
    std::string path, value, what;
};

Error describe(const Error& failed, const LimitWrite& write, const std::string& path, const std::string& value)
{
    const int number = failed.os_errno();
    Error error = Error::os(number, cat("set the limit ", write.what, " to ", value, " (", path, ')'));
    if (number == ENOENT)
        return std::move(error)
            .as(ErrorKind::Unsupported)
            .hint(cat("this kernel does not offer it",
                      std::string_view{write.kernel_need}.empty() ? "" : cat("; it needs ", write.kernel_need)));
    if (number == EINVAL && write.file == "memory.limit_in_bytes")
        return std::move(error).hint("it would be above the limit of memory and swap: set that one as well");
    if (number == EINVAL || number == ERANGE) return std::move(error).hint("the kernel refuses this value");
    if (number == ENODEV) return std::move(error).hint("there is no such device");
    if (number == EBUSY) return std::move(error).hint("more than this is in use already");
    return error;
}

/// What has to be written to get the present value back.
Result<std::string> present_value(const LimitWrite& write, const std::string& path)
{
    const auto text = TRY(read_file(kCwd, path, 1U << 16));
    for (const auto line : split(text, '\n')) {
        if (write.content == Content::Value) return line.empty() ? std::string{"\n"} : std::string{line};
        if (!line.starts_with(write.key) || line.size() <= write.key.size() || line[write.key.size()] != ' ') continue;
        return std::string{write.content == Content::Line ? line : line.substr(write.key.size() + 1)};
    }
    return write.unset;
}

/// One write. True when it was done, false when the kernel wants another one first.
Result<bool> write_one(const CgroupPaths& paths, const LimitWrite& write, std::vector<Undo>* undo)
{
    const std::string directory = directory_of(paths, write.controller);
    std::string path = cat(directory, '/', write.file);
    const std::string* value = &write.value;
    if (!write.other_file.empty() && !exists(kCwd, path)) {
        path = cat(directory, '/', write.other_file);
        value = &write.other_value;
    }
    std::string before;
    if (undo != nullptr) {
        auto present = present_value(write, path);
        if (present) before = *std::move(present); // unreadable is unwritable: the write itself tells
    }
    const auto wrote = write_control(kCwd, path, *value);
    if (wrote) {
        if (undo != nullptr && !before.empty()) undo->push_back({std::move(path), std::move(before), write.what});
        return true;
    }
    if (wrote.error().os_errno() == ENOENT && write.skip_if_missing) return true;
    if (wrote.error().os_errno() == EINVAL && write.may_wait) return false;
    return fail(describe(wrote.error(), write, path, *value));
}

/// @param undo gets what was replaced; null: nobody will want it back
Result<> write_all_limits(const CgroupPaths& paths, std::vector<LimitWrite> writes, std::vector<Undo>* undo)
{
    for (std::size_t i = 0; i < writes.size(); ++i) {
        if (TRY(write_one(paths, writes[i], undo))) continue;
        LimitWrite again = writes[i];
        again.may_wait = false;
        // Behind the next one of its controller that does not wait itself; without one it is plainly refused.
        std::size_t behind = i + 1;
        while (behind < writes.size() && writes[behind].controller == again.controller && writes[behind].may_wait)
            ++behind;
        const bool partner = behind < writes.size() && writes[behind].controller == again.controller;
        writes.insert(writes.begin() + static_cast<std::ptrdiff_t>(partner ? behind + 1 : i + 1), std::move(again));
    }
    return {};
}

/// Which of memory and memory+swap has to go first: the kernel keeps the one below the other all the time.
Result<bool> swap_goes_first(const CgroupPaths& paths, const CgroupLimits& limits)
{
    if (!limits.memory_bytes || !limits.memory_swap_bytes) return false;
    if (*limits.memory_swap_bytes < 0) return true;
    const auto now = TRY(read_number(directory_of(paths, "memory") + "/memory.limit_in_bytes"));
    return now && *now < static_cast<std::uint64_t>(*limits.memory_swap_bytes);
}

Result<std::vector<LimitWrite>> plan_writes(const CgroupPaths& paths, const CgroupLimits& limits,
                                            const CgroupLimits& all)
{
    if (paths.v1.empty()) return v2_writes(limits, all);
    return v1_writes(limits, TRY(swap_goes_first(paths, limits)));
}

Result<> check_memory_use(const CgroupPaths& paths, const CgroupLimits& limits)
{
    if (!limits.check_memory_use || limits.memory_bytes.value_or(-1) < 0) return {};
    const char* const file = paths.v1.empty() ? "/memory.current" : "/memory.usage_in_bytes";
    const auto used = TRY(read_number(directory_of(paths, "memory") + file));
    if (!used || *used < static_cast<std::uint64_t>(*limits.memory_bytes)) return {};
    return fail(Error{ErrorKind::Conflict, cat("the memory limit ", *limits.memory_bytes, " is not above the ", *used,
                                               " bytes that are in use")}
                    .hint("memory.checkBeforeUpdate asks for this check"));
}

/// Has every process of the cgroup in a v1 hierarchy, also those that are born meanwhile. Most times they are there.
Result<> join_hierarchy(const CgroupPaths& paths, const std::string& controller, const std::string& directory)
{
    constexpr int kRounds = 1000; // a container that forks faster than it can be moved is not waited for
    for (int round = 0; round < kRounds; ++round) {
        // In this order: children of those that are there are born there, so whoever is missing now was never there.
        auto missing = TRY(processes_in(paths));
        const auto list = read_file(kCwd, directory + "/cgroup.procs");
        const auto listed = list ? parse_pids(*list) : std::vector<pid_t>{}; // the directory may not be there yet
        const std::set<pid_t> there{listed.begin(), listed.end()};
        std::erase_if(missing, [&there](pid_t pid) { return there.contains(pid); });
        if (missing.empty()) return {};
        if (round == 0) {
            TRY(make_path(directory));
            if (controller == "cpuset") TRY(prepare_cpuset(directory));
        }
        bool moved_some = false;
        for (const pid_t pid : missing) {
            const auto moved = write_control(kCwd, directory + "/cgroup.procs", cat(pid));
            if (!moved && moved.error().os_errno() != ESRCH) return fail(moved.error());
            moved_some = moved_some || moved.has_value();
        }
        if (!moved_some) return {}; // all of them have ended
    }
    return fail(Error{ErrorKind::Unavailable, cat("processes are born faster than they can join ", directory)}.hint(
        "pause the container first"));
}

} // namespace

Result<> apply_limits(const CgroupPaths& paths, const CgroupLimits& limits)
{
    if (paths.v1.contains("cpuset")) TRY(prepare_cpuset(paths.v1.at("cpuset")));
    return write_all_limits(paths, TRY(plan_writes(paths, limits, limits)), nullptr);
}

Result<CgroupPaths> plan_update(const CgroupPaths& paths, const CgroupLimits& changes)
{
    if (paths.v1.empty()) return paths;
    if (!changes.unified.empty())
        return fail(ErrorKind::Unsupported, "limits given as cgroup v2 files need a host with cgroup v2 alone");
    CgroupPaths more = paths;
    std::optional<CgroupLayout> layout;
    for (const std::string& controller : v1_controllers_for(changes)) {
        if (more.v1.contains(controller)) continue;
        if (!layout) layout = TRY(CgroupLayout::detect());
        auto directory = layout->v1_directory(controller, layout->path_of(paths));
        if (directory.empty())
            return fail(Error{ErrorKind::Unsupported, cat("this host cannot limit '", controller, "'")}.hint(
                "the cgroup controller is not mounted"));
        more.v1[controller] = std::move(directory);
    }
    return more;
}

Result<> update_limits(const CgroupPaths& paths, const CgroupLimits& changes, const CgroupLimits& all)
{
    if (paths.v1.empty()) TRY(enable_v2_controllers(paths.v2, TRY(v2_controllers_for(all)), {}));
    for (const std::string& controller : paths.v1.empty() ? std::vector<std::string>{} : v1_controllers_for(changes))
        TRY_DOING(cat("join the ", controller, " cgroup"),
                  join_hierarchy(paths, controller, directory_of(paths, controller)));
    TRY(check_memory_use(paths, changes));
    std::vector<Undo> undo;
    auto written = write_all_limits(paths, TRY(plan_writes(paths, changes, all)), &undo);
    if (written) return {};
    std::string kept;
    for (auto one = undo.rbegin(); one != undo.rend(); ++one)
        if (!write_control(kCwd, one->path, one->value)) kept += cat(kept.empty() ? "" : ", ", one->what);
    if (kept.empty()) return fail(std::move(written).error().with("nothing was changed"));
    return fail(std::move(written).error().with(cat("changed and not taken back: ", kept)));
}

} // namespace coppice::os
