#include "mounts.h"

#include "coppice/base/text.h"
#include "coppice/os/copy_tree.h"
#include "coppice/os/file.h"
#include "labels.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <sched.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace coppice::runtime {

namespace {

constexpr std::size_t kMostPartsAtOnce = 200; // fewer than a message carries

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

/// What is at /proc when all is mounted is the kernel's, or else the image's own directory (CVE-2019-19921).
Result<> check_proc(int root)
{
    const auto proc = os::open_in_root(root, "proc", O_PATH | O_NOFOLLOW, 0, false);
    if (!proc) { // nothing there, or a link, on which nothing was mounted
        const int number = proc.error().os_errno();
        if (number == ENOENT || number == ENOTDIR || number == ELOOP) return {};
        return fail(proc.error());
    }
    struct stat status{};
    if (::fstat(proc->get(), &status) < 0) return fail_os(errno, "stat /proc");
    if (TRY(os::file_system_magic(proc->get())) == os::kProcMagic && status.st_ino == 1) return {};
    const auto plain = os::open_on_mount(root, "proc", O_PATH | O_NOFOLLOW);
    if (!plain && plain.error().os_errno() == EXDEV)
        return fail(ErrorKind::Denied, "what is mounted on /proc is not the kernel's own");
    return {};
}

Result<> apply_attributes(int mount, const MountOptions& options)
{
    if (options.set != 0 || options.clear != 0) TRY(os::set_mount_attributes(mount, options.set, options.clear, false));
    if (options.recursive_set != 0 || options.recursive_clear != 0)
        TRY(os::set_mount_attributes(mount, options.recursive_set, options.recursive_clear, true));
    return {};
}

/// The user namespace whose mapping the files of a mount are to have.
Result<os::Fd> mapping_namespace(const PlannedMount& planned, const os::Fd& container)
{
    return planned.spec->mapping ? os::make_user_namespace(*planned.spec->mapping) : container.duplicate();
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
    if (spec.mapping || options.id_map) {
        const auto ns = TRY(mapping_namespace(planned, user_namespace));
        TRY(os::map_mount_ids(mount->get(), ns.get(), options.recursive_id_map));
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

bool has_label(const std::string& type) { return !shows_kernel(type) && type != "mqueue"; }

/// A file system of its own, not attached yet.
Result<os::Fd> make_file_system(const PlannedMount& planned, const os::Fd& mapping, const CgroupView& cgroup)
{
    const MountSpec& spec = *planned.spec;
    const MountOptions& options = planned.options;
    if (spec.type == "cgroup") return new_cgroup_view(cgroup, options);
    auto parameters = options.parameters;
    if (!spec.source.empty()) parameters.emplace_back("source", spec.source); // shown in mountinfo
    if (!planned.label.empty() && has_label(spec.type)) parameters.emplace_back("context", planned.label);
    // What lies on a device is read-only altogether, or its journal would be replayed.
    if ((options.set & os::mount_attr::kReadOnly) != 0 && spec.source.starts_with('/'))
        parameters.emplace_back("ro", "");
    // A tmpfs is read-only when it has its mode and content.
    const auto later = spec.type == "tmpfs" ? os::mount_attr::kReadOnly : std::uint64_t{0};
    auto mount = TRY(os::new_file_system(spec.type, parameters, options.set & ~later));
    if (mapping.is_open()) TRY(os::map_mount_ids(mount.get(), mapping.get(), false));
    return mount;
}

/// A tmpfs is as open as the directory that it covers when nothing is said of its mode: as runc and crun have it.
Result<> inherit_mode(int target, int mount, const MountOptions& options)
{
    for (const auto& [name, value] : options.parameters)
        if (name == "mode") return {};
    struct stat status{};
    if (::fstat(target, &status) < 0 || ::fchmodat(os::kCwd, os::path_of(mount).c_str(), status.st_mode & 07777, 0) < 0)
        return fail_os(errno, "set the mode of a tmpfs");
    return {};
}

/// Source: mount(8) "remount": attributes that are not given are off.
Result<> remount(int root, const PlannedMount& planned)
{
    const MountOptions& options = planned.options;
    const auto target = TRY(os::open_in_root(root, planned.spec->destination, O_PATH));
    auto parameters = options.parameters;
    parameters.emplace_back((options.set & os::mount_attr::kReadOnly) != 0 ? "ro" : "rw", "");
    if (!options.bind) TRY(os::reconfigure_file_system(target.get(), parameters));
    constexpr std::uint64_t kAll = os::mount_attr::kReadOnly | os::mount_attr::kNoSuid | os::mount_attr::kNoDev |
                                   os::mount_attr::kNoExec | os::mount_attr::kNoSymFollow | os::mount_attr::kNoDirAtime;
    TRY(os::set_mount_attributes(target.get(), options.set, (kAll & ~options.set) | options.clear, false));
    if (options.recursive_set != 0 || options.recursive_clear != 0)
        TRY(os::set_mount_attributes(target.get(), options.recursive_set, options.recursive_clear, true));
    if (options.propagation == 0) return {};
    return os::set_mount_propagation(target.get(), "", options.propagation, options.recursive_propagation);
}

Result<> make_mount(int root, const PlannedMount& planned, const HostPartSource& next_host_part,
                    const CgroupView& cgroup)
{
    const MountSpec& spec = *planned.spec;
    const MountOptions& options = planned.options;
    if (options.remount) return remount(root, planned);
    const bool composed = spec.type == "cgroup" && cgroup.layout.mode() != os::CgroupMode::Unified;
    os::Fd part;
    if (planned.needs_host()) part = TRY(next_host_part());
    const auto mount = options.bind ? std::move(part) : TRY(make_file_system(planned, part, cgroup));
    struct stat status{};
    if (::fstat(mount.get(), &status) < 0) return fail_os(errno, "stat a mount");
    const auto kind = S_ISDIR(status.st_mode) ? os::PathKind::Directory : os::PathKind::File;
    const auto target = TRY(os::make_in_root(root, spec.destination, kind, !shows_kernel(spec.type)));
    TRY(check_cover(target.get(), spec.destination));
    if (spec.type == "tmpfs" && !options.bind) TRY(inherit_mode(target.get(), mount.get(), options));
    if (options.copy_up) TRY(os::copy_tree(target.get(), mount.get()));
    if (spec.type == "tmpfs" && (options.set & os::mount_attr::kReadOnly) != 0)
        TRY(os::set_mount_attributes(mount.get(), os::mount_attr::kReadOnly, 0, false));
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
    const std::string& wanted = spec.linux_part.mount_label;
    const std::string label = !wanted.empty() && selinux_is_on() ? wanted : ""; // without SELinux nothing has a label
    for (const MountSpec& mount : spec.mounts) {
        auto options = parse_mount_options(mount.options, mount.type == "bind");
        if (options.copy_up && mount.type != "tmpfs")
            return fail(ErrorKind::Invalid, cat("mount ", mount.destination, ": tmpcopyup goes with tmpfs only"));
        if (options.id_map && !mount.mapping && !spec.linux_part.has_user_namespace())
            return fail(ErrorKind::Invalid,
                        cat("mount ", mount.destination, ": idmap needs mappings or a user namespace"));
        plan.push_back({.spec = &mount, .options = std::move(options), .label = label});
    }
    return plan;
}

Result<std::vector<os::Fd>> HostParts::next()
{
    std::vector<os::Fd> parts;
    while (at_ < plan_->size() && !(*plan_)[at_].needs_host())
        ++at_;
    for (bool more = true; more && at_ < plan_->size() && parts.size() < kMostPartsAtOnce; ++at_) {
        const PlannedMount& planned = (*plan_)[at_];
        const bool bind = planned.options.bind;
        parts.push_back(TRY_DOING(cat("mount ", planned.spec->destination),
                                  bind ? open_bind_mount(planned, bundle_, *user_namespace_)
                                       : mapping_namespace(planned, *user_namespace_)));
        const bool bind_follows =
            at_ + 1 < plan_->size() && (*plan_)[at_ + 1].options.bind && (*plan_)[at_ + 1].needs_host();
        more = bind && bind_follows;
    }
    return parts;
}

Result<> make_mounts(int root, const std::vector<PlannedMount>& plan, const HostPartSource& next_host_part,
                     const CgroupView& cgroup)
{
    for (const PlannedMount& planned : plan) {
        TRY_DOING(cat("mount ", planned.spec->destination), make_mount(root, planned, next_host_part, cgroup));
    }
    return plan.empty() ? Result<>{} : check_proc(root);
}

Result<> mask_paths(int root, const std::vector<std::string>& paths)
{
    os::Fd empty; // one empty file system covers all masked directories
    for (const std::string& path : paths) {
        const auto target = os::open_in_root(root, path, O_PATH);
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
        const auto null = TRY_DOING(cat("mask ", path), os::open_in_root(root, "dev/null", O_PATH, 0, false));
        if (::fstat(null.get(), &status) < 0) return fail_os(errno, "stat /dev/null");
        if (!S_ISCHR(status.st_mode) || status.st_rdev != makedev(1, 3))
            return fail(ErrorKind::Denied, cat("mask ", path, ": /dev/null is not the null device"));
        const auto cover = TRY_DOING(cat("mask ", path), os::clone_mount(null.get(), "", false));
        TRY_DOING(cat("mask ", path), os::attach_mount(cover.get(), target->get(), ""));
    }
    return {};
}

Result<> make_paths_readonly(int root, const std::vector<std::string>& paths)
{
    for (const std::string& path : paths) {
        const auto target = os::open_in_root(root, path, O_PATH);
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
