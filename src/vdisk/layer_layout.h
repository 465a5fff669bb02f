#pragma once

#include "erofs_format.h"

/// Where things are in the metadata: shared by writer and reader, so that the reader knows where everything must be.
namespace coppice::vdisk {

/// What decides how much room an inode takes.
struct InodeShape {
    std::uint32_t mode = 0;
    std::uint64_t xattr_bytes = 0; ///< encoded, without the header; 0: no attributes
    std::uint64_t data_bytes = 0;  ///< file: size; directory: of its blocks; link: of its target
};

struct InodePlace {
    std::uint64_t start = 0;         ///< of the inode
    std::uint64_t layout = 0;        ///< kLayout...
    std::uint64_t behind_xattrs = 0; ///< where the indexes (aligned) or the tail begin
    std::uint64_t end = 0;
    std::uint64_t data_blocks = 0; ///< in the area of data blocks
};

/// @param at where the previous inode ended
InodePlace place_inode(const InodeShape& shape, std::uint64_t at);

/// Where the data blocks begin if the inodes end at `inodes_end`.
std::uint64_t data_start(std::uint64_t inodes_end);

/// Bytes of attributes as the inode has them, header included.
std::uint64_t xattr_area_bytes(std::uint64_t xattr_bytes);

/// Adds up a directory's size from the lengths of its names, "." and ".." included, in byte order.
class DirectorySize {
public:
    /// True if the name begins a new block.
    bool add(std::size_t name_bytes);
    [[nodiscard]] std::uint64_t bytes() const { return full_ + used_; }

private:
    std::uint64_t full_ = 0, used_ = 0;
};

} // namespace coppice::vdisk
