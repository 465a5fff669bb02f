#include "mounts.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <sched.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace coppice::runtime {

namespace {

bool is_cgroup_type(const std::string& type) { return type == "cgroup" || type == "cgroup2"; }

/// File systems that show the kernel itself: their mount point must be a plain directory, or a link in the image
/// could put them where the rest of the runtime looks for something else (CVE-2019-16884, CVE-2019-19921).
bool shows_kernel(const std::string& type) { return type == "proc" || type == "sysfs" || is_cgroup_type(type); }

/// What may be mounted over inside procfs: files that lxcfs and the like replace. Anything else there could make the
/// runtime or the container's programs believe a forged /proc.
bool may_cover_in_proc(std::string_view destination)
{
    constexpr std::array<std::string_view, 11> kAllowed{"/proc/cpuinfo",
                                                        "/proc/diskstats",
                                                        "/proc/meminfo",
                                                        "/proc/stat",
                                                        "/proc/swaps",
                                                        "/proc/uptime",
                                                        "/proc/loadavg",
                                                        "/proc/slabinfo",
                                                        "/proc/net/dev",
                                                        "/proc/sys/kernel/ns_last_pid",
                                                        "/proc/sys/crypto/fips_enabled"};
    return std::find(kAllowed.begin(), kAllowed.end(), destination) != kAllowed.end();
}

Result<> check_cover(int target, const std::string& destination)
{
    struct stat status{};
    if (::fstat(target, &status) < 0) return fail_os(errno, cat("stat ", destination));
    const bool inside_proc = TRY(os::file_system_magic(target)) == os::kProcMagic && status.st_ino != 1;
    if (inside_proc && !may_cover_in_proc(destination))
        return fail(ErrorKind::Denied, cat("a mount on ", destination, " would forge /proc"));
    return {};
}

Result<> apply_attributes(int mount, const MountOptions& options)
{
    if (options.set != 0 || options.clear != 0) TRY(os::set_mount_attributes(mount, options.set, options.clear, false));
    if (options.recursive_set != 0 || options.recursive_clear != 0)
        TRY(os::set_mount_attributes(mount, options.recursive_set, options.recursive_clear, true));
    return {};
}

Result<os::Fd> open_bind_mount(const PlannedMount& planned, const std::string& bundle, const os::Fd& user_namespace)
{
    const MountSpec& spec = *planned.spec;
    const MountOptions& options = planned.options;
    const std::string source = spec.source.starts_with('/') ? spec.source : cat(bundle, '/', spec.source);
    auto mount = os::clone_mount(os::kCwd, source, options.recursive_bind);
    if (!mount && mount.error().kind() == ErrorKind::NotFound)
        return fail(std::move(mount).error().hint("the source of a bind mount must exist"));
    if (!mount) return fail(std::move(mount).error());
    // A copy of a shared mount is its peer: what the container mounts there would appear on the host. Private unless
    // asked otherwise.
    const std::uint64_t propagation =
        options.propagation != 0 ? options.propagation : static_cast<std::uint64_t>(MS_PRIVATE);
    TRY(os::set_mount_propagation(mount->get(), "", propagation,
                                  options.propagation == 0 || options.recursive_propagation));
    TRY(apply_attributes(mount->get(), options));
    if (spec.mapping) {
        const auto ns = TRY(os::make_user_namespace(*spec.mapping));
        TRY(os::map_mount_ids(mount->get(), ns.get(), options.recursive_id_map));
    } else if (options.id_map) {
        TRY(os::map_mount_ids(mount->get(), user_namespace.get(), options.recursive_id_map));
    }
    return mount;
}

Result<os::Fd> new_cgroup_view(const CgroupView& cgroup, const MountOptions& options)
{
    os::FsParameters none;
    if (cgroup.layout.mode() == os::CgroupMode::Unified) return os::new_file_system("cgroup2", none, options.set);
    // v1: a small tmpfs with a directory per hierarchy, as programs expect to find it.
    return os::new_file_system("tmpfs", {{"mode", "0755"}, {"size", "64k"}}, options.set & ~os::mount_attr::kReadOnly);
}

/// One v1 hierarchy as the container may see it; not open when it may not. In a hierarchy that it has not joined it
/// sits in its caller's cgroup: there it may only look, and without a cgroup namespace it would see the host's whole
/// tree.
Result<os::Fd> view_of_hierarchy(const os::CgroupLayout::Hierarchy& hierarchy, const CgroupView& cgroup,
                                 const MountOptions& options)
{
    const std::string* joined = nullptr;
    os::FsParameters selection;
    for (const std::string& option : hierarchy.options) {
        if (const auto found = cgroup.own.v1.find(option); found != cgroup.own.v1.end()) joined = &found->second;
        const auto equals = option.find('=');
        selection.emplace_back(option.substr(0, equals), equals == std::string::npos ? "" : option.substr(equals + 1));
    }
    if (cgroup.own_namespace)
        return os::new_file_system("cgroup", selection,
                                   options.set | (joined == nullptr ? os::mount_attr::kReadOnly : 0));
    if (joined == nullptr) return os::Fd{};
    auto mount = TRY(os::clone_mount(os::kCwd, *joined, false));
    TRY(os::set_mount_attributes(mount.get(), options.set, 0, false));
    return mount;
}

Result<> fill_cgroup_view(int view, const CgroupView& cgroup, const MountOptions& options)
{
    for (const auto& hierarchy : cgroup.layout.v1_hierarchies()) {
        const auto mount = TRY(view_of_hierarchy(hierarchy, cgroup, options));
        if (!mount.is_open()) continue;
        const auto target = TRY(os::make_in_root(view, hierarchy.name, os::PathKind::Directory));
        TRY(os::attach_mount(mount.get(), target.get(), ""));
        for (const std::string& option : hierarchy.options) // "cpu,cpuacct" is also found as "cpu" and "cpuacct"
            if (hierarchy.options.size() > 1 && ::symlinkat(hierarchy.name.c_str(), view, option.c_str()) < 0 &&
                errno != EEXIST)
                return fail_os(errno, cat("link cgroup ", option));
    }
    if (options.set & os::mount_attr::kReadOnly)
        TRY(os::set_mount_attributes(view, os::mount_attr::kReadOnly, 0, false));
    return {};
}

Result<> make_mount(int root, const PlannedMount& planned, std::vector<os::Fd>& binds, std::size_t& next_bind,
                    const CgroupView& cgroup)
{
    const MountSpec& spec = *planned.spec;
    const MountOptions& options = planned.options;
    const bool composed = spec.type == "cgroup" && cgroup.layout.mode() != os::CgroupMode::Unified;
    os::Fd mount;
    auto kind = os::PathKind::Directory;
    if (options.bind) {
        mount = std::move(binds.at(next_bind++));
        struct stat status{};
        if (::fstat(mount.get(), &status) < 0) return fail_os(errno, "stat a bind mount");
        if (!S_ISDIR(status.st_mode)) kind = os::PathKind::File;
    } else if (spec.type == "cgroup") {
        mount = TRY(new_cgroup_view(cgroup, options));
    } else {
        auto parameters = options.parameters;
        if (!spec.source.empty()) parameters.emplace_back("source", spec.source); // shown in mountinfo
        mount = TRY(os::new_file_system(spec.type, parameters, options.set));
    }
    const auto target = TRY(os::make_in_root(root, spec.destination, kind, !shows_kernel(spec.type)));
    TRY(check_cover(target.get(), spec.destination));
    TRY(os::attach_mount(mount.get(), target.get(), ""));
    if (composed) TRY(fill_cgroup_view(mount.get(), cgroup, options));
    if (!options.bind && options.propagation != 0)
        TRY(os::set_mount_propagation(mount.get(), "", options.propagation, options.recursive_propagation));
    return {};
}

} // namespace

Result<std::vector<PlannedMount>> plan_mounts(const Spec& spec)
{
    std::vector<PlannedMount> plan;
    for (const MountSpec& mount : spec.mounts) {
        auto options = parse_mount_options(mount.options, mount.type == "bind");
        if (options.copy_up)
            return fail(ErrorKind::Unsupported, cat("mount ", mount.destination, ": tmpcopyup is not supported"));
        if (options.id_map && !mount.mapping && !spec.linux_part.has_new_namespace(CLONE_NEWUSER))
            return fail(ErrorKind::Invalid,
                        cat("mount ", mount.destination, ": idmap needs mappings or a user namespace"));
        if (mount.mapping && !options.bind)
            return fail(ErrorKind::Unsupported,
                        cat("mount ", mount.destination, ": only bind mounts can have mapped ids"));
        plan.push_back({.spec = &mount, .options = std::move(options)});
    }
    return plan;
}

Result<std::vector<os::Fd>> open_bind_mounts(const std::vector<PlannedMount>& plan, const std::string& bundle,
                                             const os::Fd& user_namespace)
{
    std::vector<os::Fd> mounts;
    for (const PlannedMount& planned : plan)
        if (planned.options.bind)
            mounts.push_back(
                TRY_DOING(cat("mount ", planned.spec->destination), open_bind_mount(planned, bundle, user_namespace)));
    return mounts;
}

Result<> make_mounts(int root, const std::vector<PlannedMount>& plan, std::vector<os::Fd> binds,
                     const CgroupView& cgroup)
{
    std::size_t next_bind = 0;
    for (const PlannedMount& planned : plan) {
        TRY_DOING(cat("mount ", planned.spec->destination), make_mount(root, planned, binds, next_bind, cgroup));
    }
    return {};
}

Result<> mask_paths(const std::vector<std::string>& paths)
{
    const auto root = TRY(os::open_at(os::kCwd, "/", O_PATH | O_DIRECTORY));
    os::Fd empty; // one empty file system covers all masked directories
    for (const std::string& path : paths) {
        const auto target = os::open_in_root(root.get(), path, O_PATH);
        if (!target) {
            if (target.error().kind() == ErrorKind::NotFound || target.error().os_errno() == ENOTDIR) continue;
            return fail(Error{target.error()}.with("mask"));
        }
        struct stat status{};
        if (::fstat(target->get(), &status) < 0) return fail_os(errno, cat("mask ", path));
        if (S_ISDIR(status.st_mode)) {
            os::Fd cover;
            if (!empty.is_open()) {
                empty = TRY_DOING(cat("mask ", path), os::new_file_system("tmpfs", {{"size", "0k"}, {"mode", "0555"}},
                                                                          os::mount_attr::kReadOnly));
                TRY_DOING(cat("mask ", path), os::attach_mount(empty.get(), target->get(), ""));
                continue;
            }
            cover = TRY_DOING(cat("mask ", path), os::clone_mount(empty.get(), "", false));
            TRY_DOING(cat("mask ", path), os::attach_mount(cover.get(), target->get(), ""));
            continue;
        }
        // Only the real null device may cover a file: an image's /dev/null can be a link to what it wants to write
        // (CVE-2025-31133).
        const auto null = TRY_DOING(cat("mask ", path), os::open_in_root(root.get(), "dev/null", O_PATH, 0, false));
        if (::fstat(null.get(), &status) < 0) return fail_os(errno, "stat /dev/null");
        if (!S_ISCHR(status.st_mode) || status.st_rdev != makedev(1, 3))
            return fail(ErrorKind::Denied, cat("mask ", path, ": /dev/null is not the null device"));
        const auto cover = TRY_DOING(cat("mask ", path), os::clone_mount(null.get(), "", false));
        TRY_DOING(cat("mask ", path), os::attach_mount(cover.get(), target->get(), ""));
    }
    return {};
}

Result<> make_paths_readonly(const std::vector<std::string>& paths)
{
    const auto root = TRY(os::open_at(os::kCwd, "/", O_PATH | O_DIRECTORY));
    for (const std::string& path : paths) {
        const auto target = os::open_in_root(root.get(), path, O_PATH);
        if (!target) {
            if (target.error().kind() == ErrorKind::NotFound || target.error().os_errno() == ENOTDIR) continue;
            return fail(Error{target.error()}.with("make read-only"));
        }
        const auto cover = TRY_DOING(cat("make ", path, " read-only"), os::clone_mount(target->get(), "", true));
        TRY_DOING(cat("make ", path, " read-only"),
                  os::set_mount_attributes(cover.get(), os::mount_attr::kReadOnly, 0, true));
        TRY_DOING(cat("make ", path, " read-only"), os::attach_mount(cover.get(), target->get(), ""));
    }
    return {};
}

Result<std::pair<std::uint64_t, bool>> parse_propagation(const std::string& word)
{
    if (word.empty()) return std::pair{std::uint64_t{0}, false};
    const auto options = parse_mount_options({word}, false);
    if (options.propagation == 0) return fail(ErrorKind::Invalid, cat("rootfsPropagation '", word, "' is unknown"));
    return std::pair{options.propagation, options.recursive_propagation};
}

} // namespace coppice::runtime
