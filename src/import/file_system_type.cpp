#include "file_system_type.h"

#include <array>
#include <string_view>

namespace coppice::imports {

Result<std::string> file_system_at(const ReadDisk& read, std::uint64_t offset)
{
    struct Magic {
        const char* name;
        std::uint64_t at;
        std::string_view bytes;
    };
    static constexpr std::array<Magic, 5> kMagics{{{"ext4", 1080, {"\x53\xEF", 2}},
                                                   {"xfs", 0, {"XFSB", 4}},
                                                   {"btrfs", 65536 + 64, {"_BHRfS_M", 8}},
                                                   {"erofs", 1024, {"\xE2\xE1\xF5\xE0", 4}},
                                                   {"squashfs", 0, {"hsqs", 4}}}};
    for (const Magic& magic : kMagics)
        if (TRY(read(offset + magic.at, magic.bytes.size())) == magic.bytes) return std::string{magic.name};
    return std::string{};
}

} // namespace coppice::imports
