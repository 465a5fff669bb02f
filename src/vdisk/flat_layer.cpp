#include "coppice/base/text.h"
#include "coppice/vdisk/layer_reader.h"
#include "image_output.h"
#include "layer_layout.h"

#include <algorithm>
#include <cstring>
#include <sys/stat.h>

namespace coppice::vdisk {

namespace {

std::string flat_head(std::string head, std::uint64_t all_blocks)
{
    char* const super = head.data() + kSuperblockOffset;
    put_at(super + superblock::kBlocks, static_cast<std::uint32_t>(all_blocks));
    put_at(super + superblock::kFeatureIncompat, kFeatureChunked);
    put_at<std::uint16_t>(super + superblock::kExtraDevices, 0);
    put_at<std::uint16_t>(super + superblock::kDeviceSlot, 0);
    std::memset(head.data() + kDeviceSlotOffset, 0, kDeviceSlotBytes);
    return head;
}

} // namespace

Result<> LayerReader::write_flat(ByteSink& sink)
{
    ImageOutput out{sink, true};
    const auto copy_to = [&](std::uint64_t end) -> Result<> {
        while (out.position() < end)
            TRY(out.append(TRY(read(out.position(), std::min(end - out.position(), kBlockBytes)))));
        return {};
    };
    const std::uint64_t blocks = bytes_ / kBlockBytes;
    TRY(out.append(flat_head(TRY(read(0, kInodesOffset)), blocks + blob_blocks_)));
    std::uint64_t at = kInodesOffset;
    for (std::uint64_t i = 0; i < inodes_; ++i) {
        std::uint64_t start = round_up(at, kNidBytes);
        // An inode whose tail would not have fitted into the block: the gap before it is zero, no inode is.
        if (TRY(read(start, 1)) == std::string_view{"\0", 1}) start = round_up(start, kBlockBytes);
        const auto found = TRY(inode(Nid{start / kNidBytes}));
        at = found.end;
        if (!S_ISREG(found.attributes.mode)) continue;
        TRY(copy_to(found.behind_xattrs));
        TRY(extents(found, [&](const Extent& extent) {
            const std::uint64_t block = extent.blob_offset ? blocks + *extent.blob_offset / kBlockBytes : kHole;
            put<std::uint32_t>(out.buffer(), 0);
            put(out.buffer(), static_cast<std::uint32_t>(block));
            return out.flush_some();
        }));
    }
    TRY(copy_to(bytes_));
    return out.flush();
}

} // namespace coppice::vdisk
