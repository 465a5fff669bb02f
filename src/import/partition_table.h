#pragma once

#include "coppice/base/result.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

/// What a disk is divided into: GPT (UEFI specification, chapter 5) or MBR with logical partitions, sectors of 512
/// bytes.
namespace coppice::imports {

/// Reads `bytes` at `offset`; fewer only at the end of the disk.
using ReadDisk = std::function<Result<std::string>(std::uint64_t offset, std::size_t bytes)>;

struct Partition {
    unsigned number = 0; ///< as Linux counts
    std::uint64_t offset = 0, bytes = 0;
    bool linux_data = false; ///< its type says: a Linux file system
    bool linux_root = false; ///< its type says: the root of a machine of this architecture
};

/// Empty when there is no table. Input is hostile. Errors: Corrupt (beyond the disk's end, wrong sums)
Result<std::vector<Partition>> read_partitions(const ReadDisk& read, std::uint64_t disk_bytes);

} // namespace coppice::imports
