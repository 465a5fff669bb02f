#pragma once

#include "coppice/base/result.h"
#include "coppice/import/data_part.h"
#include "coppice/vdisk/tree.h"

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// One header block of a tar archive. Source: POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar
/// Format"
namespace coppice::imports {

inline constexpr std::size_t kTarBlockBytes = 512;

struct TarHeader {
    std::string path, target;
    char type = '0';
    std::uint32_t mode = 0; ///< 12 bits
    std::uint64_t uid = 0, gid = 0;
    std::uint64_t size = 0; ///< bytes behind the header
    std::int64_t mtime = 0;
    std::uint64_t major = 0, minor = 0;
    // GNU, type S:
    std::vector<DataPart> parts;
    bool more_parts = false; ///< in a further block
    std::uint64_t real_size = 0;
};

/// @param block kTarBlockBytes. Errors: Corrupt (checksum, numbers)
Result<TarHeader> parse_tar_header(std::string_view block);
/// A further block of the map of a GNU sparse file. @returns whether one more follows
Result<bool> parse_sparse_block(std::string_view block, std::vector<DataPart>& parts);
bool is_zero_block(std::string_view block);

/// Parts in order, without overlap, in a file of `size` bytes, `stored` bytes together. Errors: Corrupt
Result<> check_parts(const std::vector<DataPart>& parts, std::uint64_t size, std::uint64_t stored);

} // namespace coppice::imports
