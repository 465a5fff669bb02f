#include "layer_layout.h"

#include <sys/stat.h>

namespace coppice::vdisk {

std::uint64_t xattr_area_bytes(std::uint64_t xattr_bytes)
{
    return xattr_bytes == 0 ? 0 : kXattrHeaderBytes + xattr_bytes;
}

std::uint64_t data_start(std::uint64_t inodes_end) { return round_up(inodes_end + kXattrHeaderBytes, kBlockBytes); }

InodePlace place_inode(const InodeShape& shape, std::uint64_t at)
{
    InodePlace place;
    place.start = round_up(at, kNidBytes);
    const std::uint64_t head = kInodeBytes + xattr_area_bytes(shape.xattr_bytes);
    if (S_ISREG(shape.mode)) {
        place.layout = kLayoutChunked;
        place.behind_xattrs = round_up(place.start + head, kIndexBytes);
        place.end = place.behind_xattrs + kIndexBytes * pieces_of(shape.data_bytes);
        return place;
    }
    const std::uint64_t tail = shape.data_bytes % kBlockBytes;
    const bool fits = place.start % kBlockBytes + head + tail <= kBlockBytes;
    // Another one would begin in the next block. The root's place is fixed.
    const bool is_inline = tail > 0 && head + tail <= kBlockBytes && (fits || place.start != kInodesOffset);
    if (is_inline) {
        place.layout = kLayoutInline;
        if (!fits) place.start = round_up(place.start, kBlockBytes);
    }
    place.behind_xattrs = place.start + head;
    place.end = place.behind_xattrs + (is_inline ? tail : 0);
    place.data_blocks =
        is_inline ? shape.data_bytes / kBlockBytes : round_up(shape.data_bytes, kBlockBytes) / kBlockBytes;
    return place;
}

bool DirectorySize::add(std::size_t name_bytes)
{
    const std::uint64_t bytes = kDirentBytes + name_bytes;
    const bool next_block = used_ + bytes > kBlockBytes;
    if (next_block) {
        full_ += kBlockBytes;
        used_ = 0;
    }
    used_ += bytes;
    return next_block;
}

} // namespace coppice::vdisk
