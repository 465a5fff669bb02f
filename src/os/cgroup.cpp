#include "coppice/os/cgroup.h"

#include "cgroup_files.h"
#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/base/units.h"
#include "coppice/os/file.h"
#include "coppice/os/process.h"
#include "coppice/os/syscalls.h"
#include "mountinfo.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <span>
#include <unistd.h>

namespace coppice::os {

using namespace cgroup_files;

namespace {

/// Hierarchies of v1 where podman, containerd and docker look for statistics, limits and kills for want of memory.
constexpr std::array kReadByClients{"memory", "cpu", "cpuacct", "pids", "blkio"};

std::string join_path(const std::string& mount, const std::string& path)
{
    return path == "/" || path.empty() ? mount : cat(mount, path.starts_with('/') ? "" : "/", path);
}

std::string parent_of(const std::string& path)
{
    const auto slash = path.find_last_of('/');
    return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

/// Goes through a tree of cgroups from the bottom up, by descriptors: whoever may make cgroups in it can make them so
/// deep that no path reaches the last one.
/// @param visit gets each directory, open, while its descendants have been visited
/// @param leave gets the parent of a directory, open, and the directory's name, afterwards
template <typename Visit, typename Leave> Result<> walk(const std::string& directory, Visit visit, Leave leave)
{
    struct Level {
        std::string name;               ///< of this directory in the one above
        std::vector<std::string> below; ///< names still to be visited
    };
    const auto has_gone = [](const Error& error) { return error.os_errno() == ENOENT || error.os_errno() == ENODEV; };
    auto here = open_at(kCwd, directory, O_RDONLY | O_DIRECTORY);
    if (!here) return has_gone(here.error()) ? Result<>{} : fail(here.error());
    const auto names_in = [&has_gone](const Fd& fd) -> Result<std::vector<std::string>> {
        auto names = list_subdirectories(fd.get(), ".");
        return names || !has_gone(names.error()) ? std::move(names) : std::vector<std::string>{};
    };
    auto names = TRY(names_in(*here));
    std::vector<Level> way;
    way.push_back({.name = {}, .below = std::move(names)});
    for (;;) {
        Level& level = way.back();
        if (!level.below.empty()) {
            std::string name = std::move(level.below.back());
            level.below.pop_back();
            auto child = open_at(here->get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
            if (!child && has_gone(child.error())) continue;
            if (!child) return fail(child.error());
            auto below = TRY(names_in(*child));
            here = std::move(child);
            way.push_back({.name = std::move(name), .below = std::move(below)});
            continue;
        }
        TRY(visit(*here));
        if (way.size() == 1) return {};
        auto above = open_at(here->get(), "..", O_RDONLY | O_DIRECTORY);
        if (!above) return fail(above.error());
        here = std::move(above);
        TRY(leave(*here, level.name));
        way.pop_back();
    }
}

Result<> collect_processes(const std::string& directory, std::vector<pid_t>& pids)
{
    const auto collect = [&pids](const Fd& cgroup) -> Result<> {
        const auto text = read_file(cgroup.get(), "cgroup.procs");
        if (!text) {
            const int number = text.error().os_errno();
            // Removed meanwhile, or a threaded cgroup: its root lists the processes.
            return number == ENOENT || number == ENODEV || number == EOPNOTSUPP ? Result<>{} : fail(text.error());
        }
        const auto listed = parse_pids(*text);
        pids.insert(pids.end(), listed.begin(), listed.end());
        return {};
    };
    return walk(directory, collect, [](const Fd&, const std::string&) -> Result<> { return {}; });
}

/// A process that has just ended may still count for a moment.
Result<> remove_directory(int parent, const std::string& name)
{
    for (int waited = 0;; waited += 2) {
        if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return {};
        if (errno != EBUSY || waited > kPatienceMs) return fail_os(errno, cat("remove cgroup ", name));
        sleep_ms(2);
    }
}

Result<> remove_directories(const std::string& directory)
{
    if (::rmdir(directory.c_str()) == 0 || errno == ENOENT) return {};
    const auto remove = [](const Fd& parent, const std::string& name) { return remove_directory(parent.get(), name); };
    TRY(walk(directory, [](const Fd&) -> Result<> { return {}; }, remove));
    return remove_directory(kCwd, directory);
}

} // namespace

namespace cgroup_files {

std::vector<pid_t> parse_pids(std::string_view text)
{
    std::vector<pid_t> pids;
    for (const auto line : split(text, '\n')) // 0 stands for a process of another pid namespace
        if (const auto pid = parse_integer(line, 1, INT32_MAX)) pids.push_back(static_cast<pid_t>(*pid));
    return pids;
}

std::string tracking_directory(const CgroupPaths& paths)
{
    if (!paths.v2.empty()) return paths.v2;
    return paths.v1.empty() ? std::string{} : paths.v1.begin()->second;
}

std::vector<std::string> v1_directories(const CgroupPaths& paths)
{
    std::vector<std::string> directories;
    for (const auto& [controller, directory] : paths.v1)
        if (std::find(directories.begin(), directories.end(), directory) == directories.end())
            directories.push_back(directory);
    return directories;
}

std::string directory_of(const CgroupPaths& paths, const std::string& controller)
{
    if (paths.v1.empty()) return paths.v2;
    const auto found = paths.v1.find(controller);
    return found == paths.v1.end() ? std::string{} : found->second;
}

Result<std::optional<std::uint64_t>> read_number(const std::string& path)
{
    const auto text = TRY(read_file(kCwd, path, 4096));
    const auto line = std::string_view{text}.substr(0, text.find('\n'));
    if (line == "max") return std::optional<std::uint64_t>{};
    const auto number = TRY_DOING(path, parse_integer(line, 0, INT64_MAX));
    return std::optional{static_cast<std::uint64_t>(number)};
}

Result<> make_path(const std::string& directory)
{
    // Parents may be removed by somebody's clean-up between two of our steps: begin again a few times.
    for (int tries = 0;; ++tries) {
        auto made = make_directories(directory, 0755);
        if (made || made.error().os_errno() != ENOENT || tries == 10)
            return with_context(std::move(made), "make cgroup");
    }
}

std::optional<std::uint64_t> keyed_number(const std::string& path, std::string_view key)
{
    const auto text = read_file(kCwd, path, 1U << 16);
    if (!text) return std::nullopt;
    for (const auto line : split(*text, '\n'))
        if (line.starts_with(key) && line.size() > key.size() && line[key.size()] == ' ')
            if (const auto number = parse_integer(line.substr(key.size() + 1), 0, INT64_MAX))
                return static_cast<std::uint64_t>(*number);
    return std::nullopt;
}

} // namespace cgroup_files

Result<CgroupLayout> CgroupLayout::detect()
{
    const auto mountinfo = TRY(read_file(kCwd, "/proc/self/mountinfo"));
    const auto own = TRY(read_file(kCwd, "/proc/self/cgroup"));
    return parse(mountinfo, own);
}

Result<CgroupLayout> CgroupLayout::parse(std::string_view mountinfo, std::string_view own_cgroups)
{
    CgroupLayout layout;
    for (const MountLine& line : parse_mountinfo(mountinfo)) {
        const bool is_v1 = line.type == "cgroup";
        if (!is_v1 && line.type != "cgroup2") continue;
        if (line.root != "/") continue; // only a whole hierarchy is of use
        const std::string mount = unescape_mount(line.point);
        if (!is_v1 && layout.v2_mount_.empty()) layout.v2_mount_ = mount;
        if (is_v1)
            for (const auto option : split(line.options, ',')) // the controllers' names among others
                if (option != "rw" && option != "ro" && option != "xattr" && option != "clone_children" &&
                    option != "noprefix" && !option.starts_with("release_agent="))
                    layout.v1_.try_emplace(std::string{option}, V1{mount, "/"});
    }
    for (const auto line : split(own_cgroups, '\n')) { // hierarchy-ID:controller-list:path
        const auto first = line.find(':');
        const auto second = first == std::string_view::npos ? first : line.find(':', first + 1);
        if (second == std::string_view::npos) continue;
        const auto controllers = line.substr(first + 1, second - first - 1);
        const std::string path{line.substr(second + 1)};
        if (controllers.empty()) layout.v2_own_ = path;
        for (const auto controller : split(controllers, ','))
            if (const auto found = layout.v1_.find(std::string{controller}); found != layout.v1_.end())
                found->second.own = path;
    }
    if (layout.v2_mount_.empty() && layout.v1_.empty())
        return fail(Error{ErrorKind::Unsupported, "no cgroup hierarchy is mounted"}.hint(
            "mount one: mount -t cgroup2 none /sys/fs/cgroup"));
    return layout;
}

CgroupMode CgroupLayout::mode() const
{
    if (v2_mount_.empty()) return CgroupMode::Legacy;
    for (const char* const controller : {"memory", "cpu", "pids"})
        if (v1_.contains(controller)) return CgroupMode::Hybrid;
    return CgroupMode::Unified;
}

std::string CgroupLayout::v2_directory(const std::string& path) const
{
    if (v2_mount_.empty()) return {};
    if (path.starts_with('/')) return join_path(v2_mount_, path);
    const std::string start = mode() == CgroupMode::Unified ? parent_of(v2_own_) : v2_own_;
    return cat(join_path(v2_mount_, start), '/', path);
}

std::string CgroupLayout::v1_directory(const std::string& controller, const std::string& path) const
{
    const auto found = v1_.find(controller);
    if (found == v1_.end()) return {};
    if (path.starts_with('/')) return join_path(found->second.mount, path);
    return cat(join_path(found->second.mount, found->second.own), '/', path);
}

std::string CgroupLayout::path_of(const CgroupPaths& paths) const
{
    if (!paths.v2.empty()) return paths.v2.substr(std::min(v2_mount_.size(), paths.v2.size()));
    for (const auto& [controller, directory] : paths.v1)
        if (const auto found = v1_.find(controller); found != v1_.end())
            return directory.substr(std::min(found->second.mount.size(), directory.size()));
    return {};
}

std::vector<CgroupLayout::Hierarchy> CgroupLayout::v1_hierarchies() const
{
    std::map<std::string, Hierarchy> by_mount;
    for (const auto& [option, where] : v1_) {
        Hierarchy& hierarchy = by_mount[where.mount];
        hierarchy.name = where.mount.substr(where.mount.find_last_of('/') + 1);
        hierarchy.options.push_back(option);
    }
    std::vector<Hierarchy> all;
    all.reserve(by_mount.size());
    for (auto& [mount, hierarchy] : by_mount)
        all.push_back(std::move(hierarchy));
    return all;
}

Result<CgroupPaths> plan_cgroup(const CgroupLayout& layout, const std::string& path, const CgroupLimits& limits,
                                bool device_list)
{
    CgroupPaths paths{.v2 = layout.v2_directory(path), .v1 = {}};
    if (layout.mode() == CgroupMode::Unified) {
        const auto needed = TRY(v2_controllers_for(limits));
        if (needed.empty()) return paths;
        const auto text = TRY(v2_root_controllers(layout.v2_mount()));
        const auto available = split(text, ' ');
        for (const std::string& controller : needed)
            if (std::find(available.begin(), available.end(), controller) == available.end())
                return fail(Error{ErrorKind::Unsupported, cat("this host cannot limit '", controller, "'")}.hint(
                    "the cgroup controller is missing or switched off: see /sys/fs/cgroup/cgroup.controllers"));
        return paths;
    }
    if (!limits.unified.empty())
        return fail(ErrorKind::Unsupported, "limits given as cgroup v2 files need a host with cgroup v2 alone");
    auto wanted = v1_controllers_for(limits);
    const bool legacy = paths.v2.empty(); // then there is nothing else to count, freeze and restrict devices by
    if (legacy) wanted.insert(wanted.end(), {"devices", "pids"});
    if (device_list && !legacy && !layout.v1_directory("devices", path).empty()) wanted.emplace_back("devices");
    for (const std::string& controller : wanted) {
        const std::string directory = layout.v1_directory(controller, path);
        if (directory.empty())
            return fail(Error{ErrorKind::Unsupported, cat("this host cannot limit '", controller, "'")}.hint(
                "the cgroup controller is not mounted"));
        paths.v1[controller] = directory;
    }
    for (const char* const controller : kReadByClients)
        if (auto directory = layout.v1_directory(controller, path); !directory.empty())
            paths.v1.try_emplace(controller, std::move(directory));
    if (legacy)
        if (auto directory = layout.v1_directory("freezer", path); !directory.empty())
            paths.v1.try_emplace("freezer", std::move(directory));
    return paths;
}

Result<Fd> make_cgroup(const CgroupPaths& paths, const CgroupLimits& limits)
{
    for (const std::string& directory : v1_directories(paths))
        TRY(make_path(directory));
    if (paths.v2.empty()) return Fd{};
    TRY(make_path(paths.v2));
    if (paths.v1.empty())
        TRY(enable_v2_controllers(paths.v2, TRY(v2_controllers_for(limits)), {"cpu", "memory", "pids", "io"}));
    return open_at(kCwd, paths.v2, O_RDONLY | O_DIRECTORY);
}

Result<> apply_device_rules(const CgroupPaths& paths, const Fd& v2, const std::vector<DeviceRule>& rules)
{
    if (rules.empty()) return {};
    if (v2.is_open()) TRY(attach_device_filter(v2.get(), rules));
    const auto list = paths.v1.find("devices");
    if (list == paths.v1.end())
        return v2.is_open() ? Result<>{} : fail(ErrorKind::Unsupported, "this host cannot restrict devices");
    for (const DeviceRule& rule : rules) {
        const std::string file = cat(list->second, rule.allow ? "/devices.allow" : "/devices.deny");
        TRY_DOING(cat("device rule ", to_v1_text(rule)), write_control(kCwd, file, to_v1_text(rule)));
    }
    return {};
}

Result<std::vector<Fd>> open_join_files(const CgroupPaths& paths)
{
    std::vector<Fd> files;
    for (const std::string& directory : v1_directories(paths))
        files.push_back(TRY_DOING("join a cgroup", open_at(kCwd, directory + "/tasks", O_WRONLY)));
    return files;
}

Result<> join_by(const std::vector<Fd>& join_files)
{
    for (const Fd& file : join_files)
        if (retry_eintr([&] { return ::write(file.get(), "0", 1); }) < 0) return fail_os(errno, "join a cgroup");
    return {};
}

Result<std::vector<pid_t>> processes_in(const CgroupPaths& paths)
{
    std::vector<pid_t> pids;
    const std::string directory = tracking_directory(paths);
    if (!directory.empty()) TRY(collect_processes(directory, pids));
    return pids;
}

Result<std::string> v2_path_of(pid_t pid)
{
    const auto text = TRY(read_file(kCwd, cat("/proc/", pid, "/cgroup"), 1U << 16));
    for (const auto line : split(text, '\n'))
        if (line.starts_with("0::/")) return std::string{line.substr(3)};
    return fail(ErrorKind::NotFound, cat("process ", pid, " is in no cgroup of version 2"));
}

namespace {

bool lacks_descriptors(const Error& error) { return error.os_errno() == EMFILE || error.os_errno() == ENFILE; }

/// Sends `signal` to those of `pids` that still are what was listed. Whom it cannot reach it tells when all others have
/// the signal; for want of descriptors nobody gets it.
Result<> signal_batch(const CgroupPaths& paths, std::span<const pid_t> pids, int signal)
{
    Result<> outcome;
    const auto note = [&outcome](Error error) {
        if (outcome) outcome = fail(std::move(error));
    };
    std::map<pid_t, Fd> held;
    for (const pid_t pid : pids) {
        auto process = open_process(pid);
        if (!process && lacks_descriptors(process.error())) return fail(std::move(process).error());
        if (!process)
            note(std::move(process).error());
        else if (*process)
            held.emplace(pid, **std::move(process));
    }
    // The number of one that has ended may be somebody else's by now. What is still listed was meant: either it is
    // what we hold, or that has ended and gets nothing.
    for (const pid_t pid : TRY(processes_in(paths)))
        if (const auto found = held.find(pid);
            found != held.end() && sys::pidfd_send_signal(found->second.get(), signal) < 0 && errno != ESRCH)
            note(Error::os(errno, cat("send signal ", signal, " to process ", pid)));
    return outcome;
}

} // namespace

Result<> signal_processes(const CgroupPaths& paths, int signal)
{
    std::size_t at_once = 256; // descriptors that are open at a time
    const auto pids = TRY(processes_in(paths));
    Result<> outcome;
    for (std::size_t first = 0; first < pids.size();) {
        const auto count = std::min(at_once, pids.size() - first);
        auto sent = signal_batch(paths, std::span{pids}.subspan(first, count), signal);
        if (!sent && lacks_descriptors(sent.error()) && count > 1) {
            at_once = count / 2;
            continue;
        }
        if (!sent && outcome) outcome = std::move(sent); // go on with the others, report the first
        first += count;
    }
    return outcome;
}

namespace {

/// One round of killing. @return the first process that is still there
Result<std::optional<pid_t>> kill_once(const CgroupPaths& paths, bool by_signal)
{
    const auto pids = TRY(processes_in(paths));
    if (pids.empty()) return std::optional<pid_t>{};
    auto sent = by_signal ? signal_processes(paths, SIGKILL) : Result<>{};
    // What the freezer of v1 holds does not even die.
    if (paths.v2.empty() && TRY(is_frozen(paths))) TRY(thaw_cgroup(paths));
    TRY(std::move(sent));
    return std::optional{pids.front()};
}

} // namespace

Result<> kill_cgroup(const CgroupPaths& paths)
{
    const std::string directory = tracking_directory(paths);
    if (directory.empty()) return {};
    if (keyed_number(directory + "/cgroup.events", "populated") == 0U)
        return {}; // the usual case, told by v2 in a word
    if (!exists(kCwd, directory)) return {};
    // One write kills all at once since Linux 5.14; before that, and on v1, again and again until nobody is left.
    const bool at_once = write_control(kCwd, directory + "/cgroup.kill", "1").has_value();
    for (int waited = 0;; waited += 1) {
        const auto left = kill_once(paths, !at_once);
        if (left && !*left) return {};
        if (waited > kPatienceMs) {
            if (!left) return fail(left.error()); // what failed may have got better meanwhile
            return fail(ErrorKind::Conflict,
                        cat("processes in cgroup ", directory, " do not die (first pid ", **left, ')'));
        }
        sleep_ms(1);
    }
}

Result<> remove_cgroup(const CgroupPaths& paths)
{
    Result<> outcome;
    const auto remove = [&](const std::string& directory) {
        auto removed = remove_directories(directory);
        if (!removed && outcome) outcome = std::move(removed); // go on with the others, report the first
    };
    for (const std::string& directory : v1_directories(paths))
        remove(directory);
    if (!paths.v2.empty()) remove(paths.v2);
    return outcome;
}

std::optional<std::uint64_t> oom_kills(const CgroupPaths& paths)
{
    if (const auto found = paths.v1.find("memory"); found != paths.v1.end())
        return keyed_number(found->second + "/memory.oom_control", "oom_kill");
    return keyed_number(paths.v2 + "/memory.events", "oom_kill");
}

} // namespace coppice::os
