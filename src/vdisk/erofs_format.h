#pragma once

#include "coppice/store/chunk.h"
#include "coppice/vdisk/tree.h"

#include <cstdint>
#include <string>
#include <string_view>

/// Numbers of docs/format/layer.md, and how they stand in bytes. Source: the kernel's fs/erofs/erofs_fs.h
namespace coppice::vdisk {

using store::kBlockBytes;
inline constexpr std::uint64_t kPieceBytes = store::kChunkMaxBytes;
inline constexpr std::uint64_t kChunkLeastBytes = 64U << 10; ///< a piece of that size is a chunk of its own

inline constexpr std::size_t kSuperblockOffset = 1024, kSuperblockBytes = 128;
inline constexpr std::size_t kDeviceSlotOffset = 1152, kDeviceSlotBytes = 128;
inline constexpr std::uint64_t kInodesOffset = 1280;
inline constexpr std::uint32_t kFeatureCompat = 3;
inline constexpr std::uint32_t kFeatureChunked = 4, kFeatureDeviceTable = 8;
namespace superblock { // offsets of its fields
inline constexpr std::size_t kMagic = 0, kChecksum = 4, kFeatureCompat = 8, kBlockBits = 12, kRootNid = 14,
                             kInodes = 16, kBlocks = 36, kUuid = 48, kFeatureIncompat = 80, kExtraDevices = 86,
                             kDeviceSlot = 88;
}
inline constexpr std::size_t kUuidBytes = 16;
inline constexpr std::size_t kSlotBlocks = 64, kSlotMapped = 68;

inline constexpr std::uint64_t kInodeBytes = 64, kNidBytes = 32;
namespace inode { // offsets of its fields
inline constexpr std::size_t kFormat = 0, kXattrCount = 2, kMode = 4, kSize = 8, kUnion = 16, kIno = 20, kUid = 24,
                             kGid = 28, kMtime = 32, kMtimeNsec = 40, kNlink = 44;
}
inline constexpr std::uint64_t kLayoutPlain = 0, kLayoutInline = 2, kLayoutChunked = 4;
inline constexpr std::uint32_t kChunkFormat = 0x26;
inline constexpr std::uint64_t kIndexBytes = 8;
inline constexpr std::uint32_t kHole = 0xFFFFFFFF; ///< block of a piece that is not in the blob
inline constexpr std::uint64_t kXattrHeaderBytes = 12;
inline constexpr std::uint64_t kMostXattrBytes = 4 * 65534; ///< without the header
inline constexpr std::uint64_t kDirentBytes = 12;
inline constexpr std::uint64_t kMostTargetBytes = 4095;

inline constexpr std::uint64_t kMostFileBytes = 1ULL << 43U; ///< of all files together
inline constexpr std::uint64_t kMostBlocks = 0xFFFFFFFE;
inline constexpr std::uint64_t kMostInodes = 1U << 24U;
inline constexpr std::uint64_t kMostDepth = 2048;

constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t to) { return (value + to - 1) / to * to; }
constexpr std::uint64_t pieces_of(std::uint64_t file_bytes) { return (file_bytes + kPieceBytes - 1) / kPieceBytes; }

template <typename Number> void put_at(char* at, Number value)
{
    for (std::size_t i = 0; i < sizeof(Number); ++i)
        at[i] = static_cast<char>(value >> (8 * i));
}
template <typename Number> void put(std::string& out, Number value)
{
    out.resize(out.size() + sizeof(Number));
    put_at(out.data() + out.size() - sizeof(Number), value);
}
/// The caller has checked that the bytes are there.
template <typename Number> Number get(std::string_view bytes, std::size_t offset)
{
    Number value = 0;
    for (std::size_t i = 0; i < sizeof(Number); ++i)
        value |= static_cast<Number>(static_cast<Number>(static_cast<unsigned char>(bytes[offset + i])) << (8 * i));
    return value;
}

/// CRC-32C with start value 2^32 - 1 and no inversion at the end, as the kernel's crc32c(~0, ...).
std::uint32_t crc32c(std::string_view bytes);
/// Writes the checksum into the image's first block.
void set_checksum(std::string& first_block);

/// EROFS_FT_* of a mode; 0 for an impossible one.
std::uint8_t file_type_of(std::uint32_t mode);

std::uint32_t encode_device(DeviceNumber device);
DeviceNumber decode_device(std::uint32_t bytes);

} // namespace coppice::vdisk
