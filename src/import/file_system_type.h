#pragma once

#include "partition_table.h"

namespace coppice::imports {

/// Which file system begins at `offset`, by the name that mount(2) knows it by; empty: none that is known. Blocks.
/// Errors: those of `read`
Result<std::string> file_system_at(const ReadDisk& read, std::uint64_t offset);

} // namespace coppice::imports
