#pragma once

#include "coppice/os/fd.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace coppice::vdisk {

/// A read-only file tree that any number of instances share: a directory, or an EROFS image file.
class Image {
public:
    enum class Kind : unsigned char { Directory, Erofs };

    /// @param path directory or image file, as the user gave it
    /// Errors: NotFound, Denied, Invalid (neither), Corrupt (an EROFS image that is cut short)
    static Result<Image> open(const std::string& path);

    [[nodiscard]] Kind kind() const { return kind_; }
    [[nodiscard]] const std::string& path() const { return path_; } ///< absolute, links resolved

    /// The tree as a detached, read-only mount without device nodes. EROFS goes through one loop device for all
    /// instances of the image, so that they share one page cache; where there are no loop devices the kernel mounts
    /// the file itself (Linux 6.12), each time with a cache of its own.
    /// Errors: Unsupported (no EROFS in this kernel), Corrupt (the kernel refuses the image)
    [[nodiscard]] Result<os::Fd> mount() const;

private:
    Image(Kind kind, std::string path, os::Fd fd) : kind_{kind}, path_{std::move(path)}, fd_{std::move(fd)} {}
    Kind kind_;
    std::string path_;
    os::Fd fd_;
};

/// What the superblock of an EROFS image says. Source: the kernel's fs/erofs/erofs_fs.h, struct erofs_super_block
struct ErofsSuperblock {
    std::uint64_t block_bytes = 0;
    std::uint64_t blocks = 0;
};
/// @param first_bytes the image's first kErofsHeaderBytes
/// Errors: Invalid (no EROFS magic), Corrupt (impossible block size)
Result<ErofsSuperblock> parse_erofs_superblock(std::string_view first_bytes);
inline constexpr std::size_t kErofsHeaderBytes = 1024 + 128;

} // namespace coppice::vdisk
