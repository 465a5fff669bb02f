#include "erofs_format.h"

#include <array>
#include <sys/stat.h>

namespace coppice::vdisk {

namespace {

constexpr std::array<std::uint32_t, 256> make_crc_table()
{
    constexpr std::uint32_t kPolynomial = 0x82F63B78; // Castagnoli, reflected
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t i = 0; i < table.size(); ++i) {
        std::uint32_t crc = i;
        for (int bit = 0; bit < 8; ++bit)
            crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? kPolynomial : 0);
        table[i] = crc;
    }
    return table;
}
constexpr auto kCrcTable = make_crc_table();

} // namespace

std::uint32_t crc32c(std::string_view bytes)
{
    std::uint32_t crc = 0xFFFFFFFF;
    for (const char byte : bytes)
        crc = (crc >> 8U) ^ kCrcTable[(crc ^ static_cast<unsigned char>(byte)) & 0xFFU];
    return crc;
}

void set_checksum(std::string& first_block)
{
    char* const field = first_block.data() + kSuperblockOffset + superblock::kChecksum;
    put_at<std::uint32_t>(field, 0);
    put_at(field, crc32c(std::string_view{first_block}.substr(kSuperblockOffset, kBlockBytes - kSuperblockOffset)));
}

std::uint8_t file_type_of(std::uint32_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG: return 1;
    case S_IFDIR: return 2;
    case S_IFCHR: return 3;
    case S_IFBLK: return 4;
    case S_IFIFO: return 5;
    case S_IFSOCK: return 6;
    case S_IFLNK: return 7;
    default: return 0;
    }
}

std::uint32_t encode_device(DeviceNumber device)
{
    return (device.minor & 0xFFU) | (device.major << 8U) | ((device.minor & 0xFFF00U) << 12U);
}

DeviceNumber decode_device(std::uint32_t bytes)
{
    return {.major = (bytes >> 8U) & 0xFFFU, .minor = (bytes & 0xFFU) | ((bytes >> 12U) & 0xFFF00U)};
}

} // namespace coppice::vdisk
