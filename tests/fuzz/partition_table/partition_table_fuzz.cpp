#include "file_system_type.h"

#include "coppice/base/error.h"

#include <cstring>
#include <zlib.h>

// A disk, also with right sums in its GPT, which no fuzzer guesses. Partitions that are found lie on it.

namespace {

using namespace coppice;

std::uint32_t sum_of(std::string_view bytes)
{
    return static_cast<std::uint32_t>(
        ::crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<unsigned>(bytes.size())));
}

std::string repaired(std::string disk)
{
    constexpr std::size_t kHeader = 512;
    if (disk.size() < 2 * kHeader) return disk;
    char* const header = disk.data() + kHeader;
    std::memcpy(header, "EFI PART", 8);
    const auto get = [&](std::size_t at) {
        std::uint32_t value = 0;
        std::memcpy(&value, header + at, sizeof value);
        return value;
    };
    const auto put = [&](std::size_t at, std::uint32_t value) { std::memcpy(header + at, &value, sizeof value); };
    const std::uint64_t entries = std::uint64_t{get(72)} * 512, bytes = std::uint64_t{get(80)} * get(84);
    if (entries < disk.size() && bytes <= disk.size() - entries)
        put(88, sum_of(std::string_view{disk}.substr(entries, bytes)));
    put(16, 0);
    if (get(12) <= kHeader) put(16, sum_of(std::string_view{disk}.substr(kHeader, get(12))));
    return disk;
}

void feed(std::string_view disk)
{
    const imports::ReadDisk read = [&](std::uint64_t offset, std::size_t bytes) -> Result<std::string> {
        return offset >= disk.size() ? std::string{} : std::string{disk.substr(offset, bytes)};
    };
    if (const auto found = imports::read_partitions(read, disk.size()))
        for (const auto& partition : *found)
            COPPICE_CHECK(partition.offset <= disk.size() && partition.bytes <= disk.size() - partition.offset);
    (void)imports::file_system_at(read, 0).has_value();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size)
{
    const std::string disk{reinterpret_cast<const char*>(data), size};
    feed(disk);
    feed(repaired(disk));
    return 0;
}
