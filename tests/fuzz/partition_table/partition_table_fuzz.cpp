#include "partition_table.h"

#include "coppice/base/error.h"

// A disk. Partitions that are found lie on it.

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size)
{
    using namespace coppice;
    const std::string_view disk{reinterpret_cast<const char*>(data), size};
    const imports::ReadDisk read = [&](std::uint64_t offset, std::size_t bytes) -> Result<std::string> {
        return offset >= disk.size() ? std::string{} : std::string{disk.substr(offset, bytes)};
    };
    if (const auto found = imports::read_partitions(read, size))
        for (const auto& partition : *found)
            COPPICE_CHECK(partition.offset <= size && partition.bytes <= size - partition.offset);
    (void)imports::file_system_at(read, 0).has_value();
    return 0;
}
