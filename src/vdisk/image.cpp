#include "coppice/vdisk/image.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/loop_device.h"
#include "coppice/os/mount.h"
#include "erofs_format.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

namespace coppice::vdisk {

namespace {

constexpr const char* kHowToMakeOne = "give a directory, or an image made by: mkfs.erofs IMAGE DIRECTORY";

Result<std::string> resolve(const std::string& path)
{
    char* const resolved = ::realpath(path.c_str(), nullptr);
    if (resolved == nullptr)
        return errno == ENOENT ? fail(Error::os(errno, cat("root ", path)).hint(kHowToMakeOne))
                               : fail_os(errno, cat("root ", path));
    std::string absolute = resolved;
    std::free(resolved);
    return absolute;
}

Result<> check_image_file(const os::Fd& file, const struct stat& status, const std::string& path)
{
    std::string header(kErofsHeaderBytes, '\0');
    const auto got = os::retry_eintr([&] { return ::pread(file.get(), header.data(), header.size(), 0); });
    if (got < 0) return fail_os(errno, cat("read ", path));
    header.resize(static_cast<std::size_t>(got));
    const auto superblock = parse_erofs_superblock(header);
    if (!superblock) return fail(Error{superblock.error()}.with(cat("root ", path)).hint(kHowToMakeOne));
    const std::uint64_t wanted = superblock->blocks * superblock->block_bytes;
    if (static_cast<std::uint64_t>(status.st_size) < wanted)
        return fail(Error{ErrorKind::Corrupt,
                          cat("root ", path, ": the image is cut short: ", status.st_size, " of ", wanted, " bytes")}
                        .hint("copy or build it again"));
    return {};
}

} // namespace

Result<ErofsSuperblock> parse_erofs_superblock(std::string_view first_bytes)
{
    if (first_bytes.size() < kErofsHeaderBytes ||
        get<std::uint32_t>(first_bytes, kSuperblockOffset + superblock::kMagic) != os::kErofsMagic)
        return fail(ErrorKind::Invalid, "neither a directory nor an EROFS image");
    const auto block_bits = static_cast<unsigned char>(first_bytes[kSuperblockOffset + superblock::kBlockBits]);
    if (block_bits < 9 || block_bits > 16) return fail(ErrorKind::Corrupt, "the EROFS superblock is damaged");
    return ErofsSuperblock{.block_bytes = 1ULL << block_bits,
                           .blocks = get<std::uint32_t>(first_bytes, kSuperblockOffset + superblock::kBlocks)};
}

Result<Image> Image::open(const std::string& path)
{
    auto absolute = TRY(resolve(path));
    auto fd = TRY_DOING("root", os::open_at(os::kCwd, absolute, O_RDONLY | O_NONBLOCK)); // a FIFO must not hold us up
    struct stat status{};
    if (::fstat(fd.get(), &status) < 0) return fail_os(errno, cat("root ", path));
    if (S_ISDIR(status.st_mode)) return Image{Kind::Directory, std::move(absolute), std::move(fd)};
    if (!S_ISREG(status.st_mode))
        return fail(Error{ErrorKind::Invalid, cat("root ", path, ": neither a directory nor an EROFS image")}.hint(
            kHowToMakeOne));
    TRY(check_image_file(fd, status, path));
    return Image{Kind::Erofs, std::move(absolute), std::move(fd)};
}

Result<os::Fd> Image::mount() const
{
    constexpr std::uint64_t kAttributes = os::mount_attr::kReadOnly | os::mount_attr::kNoDev;
    if (kind_ == Kind::Directory) {
        auto mount = TRY_DOING(cat("root ", path_), os::clone_mount(fd_.get(), "", false));
        TRY_DOING(cat("root ", path_), os::set_mount_attributes(mount.get(), kAttributes, 0, false));
        return mount;
    }
    const auto loop = os::LoopDevice::over(fd_, path_);
    if (!loop && loop.error().kind() != ErrorKind::Unsupported)
        return fail(Error{loop.error()}.with(cat("root ", path_)));
    const std::string source = loop ? loop->path() : path_;
    auto mount = os::new_file_system("erofs", {{"source", source}, {"ro", ""}}, kAttributes);
    if (mount) return mount;
    Error error = std::move(mount).error().with(cat("root ", path_));
    if (error.kind() == ErrorKind::Unsupported) return fail(std::move(error).hint("load the kernel module 'erofs'"));
    const int number = error.os_errno();
    if (number == EINVAL || number == EIO || number == EBADMSG || number == EUCLEAN || number == EOPNOTSUPP)
        error = std::move(error).as(ErrorKind::Corrupt).hint("the image is damaged, or made for a newer kernel");
    return fail(std::move(error));
}

} // namespace coppice::vdisk
