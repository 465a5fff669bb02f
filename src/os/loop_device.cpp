#include "coppice/os/loop_device.h"

#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/os/file.h"

#include <cerrno>
#include <cstring>
#include <linux/loop.h>
#include <optional>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace coppice::os {

namespace {

constexpr int kMaxTries = 64; // another program may take the free device that we were told of

/// Opens `path` if it is a read-only loop device over this range of the file of `image`.
std::optional<Fd> open_if_over(const std::string& path, const struct stat& image, const LoopDevice::Range& range)
{
    auto device = open_at(kCwd, path, O_RDONLY);
    if (!device) return std::nullopt;
    loop_info64 info{};
    if (::ioctl(device->get(), LOOP_GET_STATUS64, &info) < 0) return std::nullopt;
    const bool same_file = info.lo_inode == image.st_ino && info.lo_device == image.st_dev;
    // Without autoclear it is somebody else's, who may detach it under us.
    const bool as_ours = (info.lo_flags & LO_FLAGS_AUTOCLEAR) && (info.lo_flags & LO_FLAGS_READ_ONLY) &&
                         info.lo_offset == range.offset && info.lo_sizelimit == range.bytes;
    if (!same_file || !as_ours) return std::nullopt;
    return *std::move(device);
}

/// One finder or maker at a time per image, or two starts at once would each make a device of their own. Somebody else
/// may hold a lock on the file for reasons of his own: then we go on without, at the price of a second device.
Result<Fd> lock_for_a_moment(const Fd& image)
{
    auto locked = TRY(open_at(kCwd, path_of(image.get()), O_RDONLY)); // a description of our own: the lock goes with it
    constexpr int kPatienceMs = 2'000;
    for (int waited = 0; ::flock(locked.get(), LOCK_EX | LOCK_NB) < 0 && waited < kPatienceMs; ++waited)
        sleep_ms(1);
    return locked;
}

/// Overlayfs on a tmpfs says that it has direct I/O and fails when it comes to it (seen on Linux 6.1): then without.
Result<> keep_direct_if_it_works(const Fd& device)
{
    char first = 0;
    if (retry_eintr([&] { return ::pread(device.get(), &first, 1, 0); }) >= 0 || errno != EIO) return {};
    if (::ioctl(device.get(), LOOP_SET_DIRECT_IO, 0UL) < 0) return fail_os(errno, "read without direct I/O");
    return {};
}

} // namespace

Result<LoopDevice> LoopDevice::over(const Fd& image, const std::string& name, const Range& range)
{
    struct stat status{};
    if (::fstat(image.get(), &status) < 0) return fail_os(errno, cat("stat ", name));

    const auto locked = TRY(lock_for_a_moment(image));

    const auto control = open_at(kCwd, "/dev/loop-control", O_RDWR);
    if (!control)
        return fail(Error{ErrorKind::Unsupported, "no loop devices: /dev/loop-control cannot be opened"}.hint(
            "load the kernel module 'loop'"));
    const auto blocks = TRY(list_directory(kCwd, "/sys/block"));
    for (const std::string& block : blocks) {
        if (!block.starts_with("loop") || !exists(kCwd, cat("/sys/block/", block, "/loop"))) continue;
        const std::string path = cat("/dev/", block);
        if (auto device = open_if_over(path, status, range)) return LoopDevice{*std::move(device), path};
    }
    for (int i = 0; i < kMaxTries; ++i) {
        const int number = ::ioctl(control->get(), LOOP_CTL_GET_FREE);
        if (number < 0) return fail_os(errno, "find a free loop device");
        const std::string path = cat("/dev/loop", number);
        auto device = TRY(open_at(kCwd, path, O_RDONLY));
        loop_config config{};
        config.fd = static_cast<std::uint32_t>(image.get());
        config.info.lo_offset = range.offset;
        config.info.lo_sizelimit = range.bytes;
        // Direct I/O: the image's own pages are not cached a second time below the device.
        config.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO;
        std::strncpy(reinterpret_cast<char*>(config.info.lo_file_name), name.c_str(), LO_NAME_SIZE - 1);
        if (::ioctl(device.get(), LOOP_CONFIGURE, &config) == 0) {
            TRY_DOING(path, keep_direct_if_it_works(device));
            return LoopDevice{std::move(device), path};
        }
        if (errno == EINVAL) { // the file system below has no direct I/O
            config.info.lo_flags &= ~static_cast<unsigned>(LO_FLAGS_DIRECT_IO);
            if (::ioctl(device.get(), LOOP_CONFIGURE, &config) == 0) return LoopDevice{std::move(device), path};
        }
        if (errno != EBUSY) return fail_os(errno, cat("attach ", name, " to ", path));
    }
    return fail(ErrorKind::Unavailable, "every free loop device was taken by somebody else");
}

} // namespace coppice::os
