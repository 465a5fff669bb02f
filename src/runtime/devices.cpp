#include "devices.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/mount.h"
#include "mount_options.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace coppice::runtime {

namespace {

struct DefaultDevice {
    const char* path;
    std::uint32_t major, minor;
};

// Source: config-linux.md "Default Devices"; numbers from the kernel's devices.txt
constexpr std::array<DefaultDevice, 6> kDefaultDevices{{{"/dev/null", 1, 3},
                                                        {"/dev/zero", 1, 5},
                                                        {"/dev/full", 1, 7},
                                                        {"/dev/random", 1, 8},
                                                        {"/dev/urandom", 1, 9},
                                                        {"/dev/tty", 5, 0}}};

constexpr std::array<std::pair<const char*, const char*>, 5> kLinks{{{"fd", "/proc/self/fd"},
                                                                     {"stdin", "/proc/self/fd/0"},
                                                                     {"stdout", "/proc/self/fd/1"},
                                                                     {"stderr", "/proc/self/fd/2"},
                                                                     {"ptmx", "pts/ptmx"}}};

mode_t type_bits(char type) { return type == 'b' ? S_IFBLK : type == 'p' ? S_IFIFO : S_IFCHR; }

Result<> check_is(int fd, const DeviceSpec& device)
{
    struct stat status{};
    if (::fstat(fd, &status) < 0) return fail_os(errno, cat("stat ", device.path));
    const bool same = (status.st_mode & S_IFMT) == type_bits(device.type) &&
                      (device.type == 'p' || status.st_rdev == makedev(device.major, device.minor));
    if (!same)
        return fail(ErrorKind::Conflict, cat(device.path, " exists and is not device ", std::string(1, device.type),
                                             ' ', device.major, ':', device.minor));
    return {};
}

/// Called with a umask of 0, so that the mode is what the specification says.
Result<> make_node(int root, const os::Fd& dev, const DeviceSpec& device)
{
    const auto slash = device.path.find_last_of('/');
    const std::string name = device.path.substr(slash + 1);
    if (name.empty()) return fail(ErrorKind::Invalid, cat("device path ", device.path, " names a directory"));
    os::Fd other;
    if (device.path.substr(0, slash) != "/dev")
        other = TRY(os::make_in_root(root, device.path.substr(0, slash + 1), os::PathKind::Directory, false));
    const int parent = other.is_open() ? other.get() : dev.get();
    const dev_t number = device.type == 'p' ? 0 : makedev(device.major, device.minor);
    if (::mknodat(parent, name.c_str(), type_bits(device.type) | device.mode, number) == 0) {
        if (device.uid == 0 && device.gid == 0) return {};
        if (::fchownat(parent, name.c_str(), device.uid, device.gid, AT_SYMLINK_NOFOLLOW) == 0) return {};
        return fail_os(errno, cat("set the owner of ", device.path));
    }
    if (errno != EEXIST) return fail_os(errno, cat("create device ", device.path));
    const auto node = TRY(os::open_at(parent, name, O_PATH | O_NOFOLLOW));
    return check_is(node.get(), device); // the image's own, or even the host's: not ours to change
}

Result<> attach_node(int root, const DeviceSpec& device, const os::Fd& mount)
{
    const auto target = TRY(os::make_in_root(root, device.path, os::PathKind::File, false));
    return os::attach_mount(mount.get(), target.get(), "");
}

} // namespace

std::vector<DeviceSpec> plan_devices(const Spec& spec)
{
    const bool host_dev = std::any_of(spec.mounts.begin(), spec.mounts.end(), [](const MountSpec& mount) {
        std::string_view where = mount.destination;
        while (where.size() > 1 && where.ends_with('/'))
            where.remove_suffix(1);
        return where == "/dev" && parse_mount_options(mount.options, mount.type == "bind").bind;
    });
    if (host_dev) return {};
    std::vector<DeviceSpec> plan;
    for (const DefaultDevice& device : kDefaultDevices) {
        const bool given = std::any_of(spec.linux_part.devices.begin(), spec.linux_part.devices.end(),
                                       [&](const DeviceSpec& other) { return other.path == device.path; });
        if (given) continue;
        plan.push_back({.type = 'c', .path = device.path, .major = device.major, .minor = device.minor});
    }
    plan.insert(plan.end(), spec.linux_part.devices.begin(), spec.linux_part.devices.end());
    return plan;
}

Result<std::vector<os::Fd>> open_device_mounts(const std::vector<DeviceSpec>& plan)
{
    std::vector<os::Fd> mounts;
    for (const DeviceSpec& device : plan) {
        if (device.type == 'p') continue; // those everybody may make
        auto mount = TRY_DOING("device", os::clone_mount(os::kCwd, device.path, false, false));
        TRY_DOING("device", check_is(mount.get(), device));
        mounts.push_back(std::move(mount));
    }
    return mounts;
}

Result<> make_devices(int root, const std::vector<DeviceSpec>& plan, std::vector<os::Fd> mounts)
{
    if (plan.empty()) return {};
    // No link in /dev, or on the way there, is followed: an image's own could lead to the host's files.
    const auto dev = TRY(os::make_in_root(root, "dev", os::PathKind::Directory, false));
    std::size_t next_mount = 0;
    const mode_t umask = ::umask(0);
    Result<> made;
    for (const DeviceSpec& device : plan) {
        const bool is_mount = device.type != 'p' && next_mount < mounts.size();
        made = is_mount ? attach_node(root, device, mounts[next_mount++]) : make_node(root, dev, device);
        if (!made) break;
    }
    ::umask(umask);
    TRY_DOING("device", std::move(made));
    for (const auto& [name, target] : kLinks)
        if (::symlinkat(target, dev.get(), name) < 0 && errno != EEXIST)
            return fail_os(errno, cat("create link /dev/", name));
    return {};
}

std::vector<os::DeviceRule> default_device_rules()
{
    std::vector<os::DeviceRule> rules;
    rules.reserve(kDefaultDevices.size() + 5);
    for (const DefaultDevice& device : kDefaultDevices)
        rules.push_back({.allow = true, .type = 'c', .major = device.major, .minor = device.minor, .access = "rwm"});
    rules.push_back({.allow = true, .type = 'c', .major = 136, .minor = {}, .access = "rwm"}); // /dev/pts/N
    rules.push_back({.allow = true, .type = 'c', .major = 5, .minor = 1, .access = "rwm"});    // /dev/console
    rules.push_back({.allow = true, .type = 'c', .major = 5, .minor = 2, .access = "rwm"});    // /dev/ptmx
    // Making nodes without being able to open them is harmless, and package managers do it.
    rules.push_back({.allow = true, .type = 'c', .major = {}, .minor = {}, .access = "m"});
    rules.push_back({.allow = true, .type = 'b', .major = {}, .minor = {}, .access = "m"});
    return rules;
}

} // namespace coppice::runtime
