#pragma once

#include "coppice/import/context.h"
#include "coppice/os/fd.h"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

/// A file that carries several parts with a list of their digests: docs/format/instance-archive.md
namespace coppice::imports {

inline constexpr std::string_view kArchiveType = "application/vnd.coppice.instance.v1+json";
inline constexpr const char* kArchiveList = "archive.json";
inline constexpr std::size_t kArchiveParts = 1000; ///< at most

/// A part that is what the list says.
struct CheckedPart {
    os::Fd file; ///< unnamed; stands at its beginning
    std::uint64_t bytes = 0;
    std::string sha256; ///< hexadecimal
};
using ArchiveParts = std::map<std::string, CheckedPart>; ///< by their names

/// Reads all of an archive and compares every part with the list before it returns anything. What it returns are copies
/// in Context::spool: whoever may write to the file changes nothing any more.
/// @param name for messages. Errors: Corrupt (no such archive, cut short, damaged, or more or less in it than it says),
/// Unsupported (another version), Unavailable (disk full, stopped). Blocks. Any thread
Result<ArchiveParts> read_archive(os::Fd file, const std::string& name, const Context& context);

} // namespace coppice::imports
