#include "partition_table.h"

#include "coppice/base/text.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <zlib.h>

namespace coppice::imports {

namespace {

constexpr std::uint64_t kSector = 512;
constexpr std::size_t kGptHeaderBytes = 92, kGptEntriesMax = 1024, kGptEntryBytesMax = 4096;
constexpr unsigned kLogicalMax = 128;

template <typename T> T get(std::string_view bytes, std::size_t at) // little-endian, as the machines we run on
{
    T value;
    COPPICE_CHECK(at + sizeof value <= bytes.size());
    std::memcpy(&value, bytes.data() + at, sizeof value);
    return value;
}

// As on disk: the first three fields are little-endian.
constexpr std::string_view kLinuxData{"\xAF\x3D\xC6\x0F\x83\x84\x72\x47\x8E\x79\x3D\x69\xD8\x47\x7D\xE4", 16};
#if defined(__aarch64__)
constexpr std::string_view kLinuxRoot{"\x45\xB0\x21\xB9\xF0\x1D\xC3\x41\xAF\x44\x4C\x6F\x28\x0D\x3F\xAE", 16};
#else
constexpr std::string_view kLinuxRoot{"\xE3\xBC\x68\x4F\xCD\xE8\xB1\x4D\x96\xE7\xFB\xCA\xF9\x84\xB7\x09", 16};
#endif

std::unexpected<Error> bad(std::string_view what)
{
    return fail(ErrorKind::Corrupt, cat("the partition table is damaged: ", what));
}

std::uint32_t sum_of(std::string_view bytes)
{
    return static_cast<std::uint32_t>(
        ::crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<unsigned>(bytes.size())));
}

Result<Partition> make_partition(unsigned number, std::uint64_t first, std::uint64_t sectors, std::uint64_t disk_bytes)
{
    const std::uint64_t all = disk_bytes / kSector;
    if (sectors == 0 || first == 0 || first > all || sectors > all - first)
        return bad(cat("partition ", number, " is not on the disk"));
    Partition partition;
    partition.number = number;
    partition.offset = first * kSector;
    partition.bytes = sectors * kSector;
    return partition;
}

Result<std::vector<Partition>> read_gpt(const ReadDisk& read, std::uint64_t disk_bytes)
{
    auto header = TRY(read(kSector, kSector));
    if (header.size() < kSector || !header.starts_with("EFI PART")) return bad("no GPT where the MBR says that one is");
    const auto header_bytes = get<std::uint32_t>(header, 12), header_sum = get<std::uint32_t>(header, 16);
    if (header_bytes < kGptHeaderBytes || header_bytes > kSector) return bad("its header's length");
    const auto entries_at = get<std::uint64_t>(header, 72);
    const auto count = get<std::uint32_t>(header, 80), entry_bytes = get<std::uint32_t>(header, 84);
    const auto entries_sum = get<std::uint32_t>(header, 88);
    std::memset(header.data() + 16, 0, 4);
    if (sum_of(std::string_view{header}.substr(0, header_bytes)) != header_sum) return bad("its header's sum");
    if (count > kGptEntriesMax || entry_bytes < 128 || entry_bytes > kGptEntryBytesMax ||
        entries_at > disk_bytes / kSector)
        return bad("its entries");
    const auto entries = TRY(read(entries_at * kSector, std::size_t{count} * entry_bytes));
    if (entries.size() < std::size_t{count} * entry_bytes || sum_of(entries) != entries_sum)
        return bad("its entries' sum");
    std::vector<Partition> partitions;
    for (unsigned i = 0; i < count; ++i) {
        const auto entry = std::string_view{entries}.substr(std::size_t{i} * entry_bytes, entry_bytes);
        const auto type = entry.substr(0, 16);
        if (type.find_first_not_of('\0') == std::string_view::npos) continue;
        const auto first = get<std::uint64_t>(entry, 32), last = get<std::uint64_t>(entry, 40);
        if (last < first || last == UINT64_MAX) return bad(cat("partition ", i + 1));
        auto partition = TRY(make_partition(i + 1, first, last - first + 1, disk_bytes));
        partition.linux_root = type == kLinuxRoot;
        partition.linux_data = partition.linux_root || type == kLinuxData;
        partitions.push_back(partition);
    }
    return partitions;
}

struct MbrEntry {
    std::uint8_t type;
    std::uint32_t first, sectors;
    [[nodiscard]] bool is_extended() const { return type == 0x05 || type == 0x0F || type == 0x85; }
};

MbrEntry mbr_entry(std::string_view sector, std::size_t index)
{
    const std::size_t at = 446 + 16 * index;
    return {.type = get<std::uint8_t>(sector, at + 4),
            .first = get<std::uint32_t>(sector, at + 8),
            .sectors = get<std::uint32_t>(sector, at + 12)};
}

bool is_boot_sector(std::string_view sector)
{
    return sector.size() == kSector && sector.substr(510) == std::string_view{"\x55\xAA", 2};
}

/// Each logical partition has a table of its own, which names the next one.
Result<> read_logical(const ReadDisk& read, std::uint64_t base, std::uint64_t disk_bytes,
                      std::vector<Partition>& partitions)
{
    std::uint64_t at = base;
    for (unsigned number = 5;; ++number) {
        if (number > kLogicalMax) return bad("too many logical partitions");
        if (at > disk_bytes / kSector) return bad("a logical partition behind the end");
        const auto sector = TRY(read(at * kSector, kSector));
        if (!is_boot_sector(sector)) return bad("a logical partition without table");
        const auto own = mbr_entry(sector, 0), next = mbr_entry(sector, 1);
        if (own.type != 0) {
            auto partition = TRY(make_partition(number, at + own.first, own.sectors, disk_bytes));
            partition.linux_data = own.type == 0x83;
            partitions.push_back(partition);
        }
        if (!next.is_extended()) return {};
        at = base + next.first;
    }
}

} // namespace

Result<std::vector<Partition>> read_partitions(const ReadDisk& read, std::uint64_t disk_bytes)
{
    const auto sector = TRY(read(0, kSector));
    std::vector<Partition> partitions;
    if (!is_boot_sector(sector)) return partitions;
    for (std::size_t i = 0; i < 4; ++i) {
        const auto entry = mbr_entry(sector, i);
        if (entry.type == 0xEE) return read_gpt(read, disk_bytes);
        if (entry.type == 0) continue;
        auto partition = TRY(make_partition(static_cast<unsigned>(i + 1), entry.first, entry.sectors, disk_bytes));
        partition.linux_data = entry.type == 0x83;
        if (entry.is_extended())
            TRY(read_logical(read, entry.first, disk_bytes, partitions));
        else
            partitions.push_back(partition);
    }
    return partitions;
}

} // namespace coppice::imports
