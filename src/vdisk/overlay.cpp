#include "overlay.h"

#include "coppice/base/id.h"
#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/file_system_user.h"
#include "coppice/os/mount.h"
#include "instance_ids.h"

#include <cerrno>
#include <unistd.h>

namespace coppice::vdisk {

namespace {

/// A layer may not send overlayfs to other places by redirects, and is complete in itself.
const os::FsParameters kOptions{{"redirect_dir", "nofollow"}, {"metacopy", "off"}, {"index", "off"}, {"xino", "off"}};

Result<os::Fd> by_parameters(const OverlayPlan& plan, std::uint64_t attributes)
{
    os::FsParameters parameters{{"source", plan.source}};
    for (const std::string& lower : plan.lowers)
        parameters.emplace_back("lowerdir+", lower);
    if (plan.directory) {
        parameters.emplace_back("upperdir", *plan.directory + "/upper");
        parameters.emplace_back("workdir", *plan.directory + "/work");
    }
    if (plan.throw_away) parameters.emplace_back("volatile", "");
    parameters.insert(parameters.end(), kOptions.begin(), kOptions.end());
    return os::new_file_system("overlay", parameters, attributes);
}

/// The name of the n-th link to a layer: 500 of them must fit into one page.
std::string short_name(std::size_t n)
{
    constexpr std::string_view kDigits = "0123456789abcdefghijklmnopqrstuvwxyz";
    return {kDigits[n / kDigits.size()], kDigits[n % kDigits.size()]};
}

Result<os::Fd> by_option_string(const OverlayPlan& plan, std::uint64_t attributes)
{
    const std::string place = cat("o", random_hex(8));
    TRY(os::make_directory(os::kCwd, place, 0700));
    TRY(os::make_directory(os::kCwd, place + "/merged", 0700)); // no name of two characters
    const auto links = TRY(os::open_at(os::kCwd, place, O_RDONLY | O_DIRECTORY));
    std::string lowers;
    for (std::size_t i = 0; i < plan.lowers.size(); ++i) {
        if (::symlinkat(cat("/", plan.lowers[i]).c_str(), links.get(), short_name(i).c_str()) < 0)
            return fail_os(errno, "link to a layer");
        lowers += cat(i == 0 ? "" : ":", short_name(i));
    }
    std::string options = "lowerdir=" + lowers;
    if (plan.directory) options += cat(",upperdir=/", *plan.directory, "/upper,workdir=/", *plan.directory, "/work");
    for (const auto& [name, value] : kOptions)
        options += cat(",", name, "=", value);
    if (plan.throw_away) options += ",volatile";
    if (::fchdir(links.get()) < 0) return fail_os(errno, "enter the directory of layers");
    TRY(os::mount_at("overlay", plan.source, "merged", options));
    auto mount = TRY(os::clone_mount(os::kCwd, "merged", false));
    TRY(os::detach_mount_at("merged"));
    if (::chdir("/") < 0) return fail_os(errno, "enter /");
    TRY(os::remove_tree(os::kCwd, place));
    TRY(os::set_mount_attributes(mount.get(), attributes, 0, false));
    return mount;
}

Result<os::Fd> stack(const OverlayPlan& plan, std::uint64_t attributes)
{
    auto made = plan.by_option_string ? by_option_string(plan, attributes) : by_parameters(plan, attributes);
    if (made || plan.by_option_string || made.error().os_errno() != EINVAL) return made;
    auto other = by_option_string(plan, attributes);
    return other ? std::move(other) : std::move(made); // the first one has the kernel's own words
}

/// The same over copies of the layers' mounts that show mapped ids, attached at `place` for a moment.
Result<os::Fd> stack_mapped(const OverlayPlan& plan, std::uint64_t attributes, const std::string& place)
{
    const auto root_uid = os::to_outside(plan.ids->mapping.uids, 0);
    const auto root_gid = os::to_outside(plan.ids->mapping.gids, 0);
    if (!root_uid || !root_gid) return fail(ErrorKind::Invalid, "the id mapping lacks id 0");
    const auto map = [&](const std::string& path, const std::string& name) -> Result<> {
        const auto copy = TRY(os::clone_mount(os::kCwd, path, false));
        TRY(map_layer(copy, *plan.ids->user_namespace, path));
        TRY(os::make_directory(os::kCwd, name, 0700));
        return os::attach_mount(copy.get(), os::kCwd, name);
    };
    OverlayPlan mapped = plan;
    for (std::size_t i = 0; i < mapped.lowers.size(); ++i) {
        const std::string name = cat(place, '/', short_name(i));
        TRY(map(mapped.lowers[i], name));
        mapped.lowers[i] = name;
    }
    if (plan.directory) {
        mapped.directory = place + "/upper";
        TRY(map(*plan.directory, *mapped.directory));
    }
    const auto user = TRY(os::FileSystemUser::become(*root_uid, *root_gid));
    return stack(mapped, attributes);
}

Result<os::Fd> stack_inside(const OverlayPlan& plan, std::uint64_t attributes)
{
    if (!plan.ids) return stack(plan, attributes);
    // A file system of their own, so that all of the copies go with it.
    const std::string place = cat("i", random_hex(8));
    const auto own = TRY(os::new_file_system("tmpfs", {{"size", "4m"}, {"mode", "0711"}}, os::mount_attr::kNoDev));
    TRY(os::make_directory(os::kCwd, place, 0700));
    TRY(os::attach_mount(own.get(), os::kCwd, place));
    auto made = stack_mapped(plan, attributes, place);
    TRY(os::detach_mount_at(place));
    TRY(os::remove_tree(os::kCwd, place));
    return made;
}

} // namespace

Result<os::Fd> make_overlay(const os::MountSpace& space, const OverlayPlan& plan, std::uint64_t attributes)
{
    if (plan.lowers.size() > kMostLowers)
        return fail(Error{ErrorKind::Unavailable,
                          cat("a stack of ", plan.lowers.size(), " layers: the kernel takes ", kMostLowers)}
                        .hint("merge some of its snapshots"));
    os::Fd mount;
    TRY(space.run([&]() -> Result<> {
        mount = TRY(stack_inside(plan, attributes));
        return {};
    }));
    return mount;
}

} // namespace coppice::vdisk
