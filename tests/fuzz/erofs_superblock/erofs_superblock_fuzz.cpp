#include "coppice/vdisk/image.h"

#include "coppice/base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    using namespace coppice;
    const auto superblock = vdisk::parse_erofs_superblock({reinterpret_cast<const char*>(data), size});
    if (!superblock) return 0;
    COPPICE_CHECK(size >= vdisk::kErofsHeaderBytes);
    COPPICE_CHECK(superblock->block_bytes >= 512 && superblock->block_bytes <= 65536);
    COPPICE_CHECK(superblock->blocks <= UINT64_MAX / superblock->block_bytes);
    return 0;
}
