#pragma once

#include <cstdint>

namespace coppice::imports {

/// A part of a sparse file that is in an archive; the rest of the file is zeros.
struct DataPart {
    std::uint64_t offset = 0, bytes = 0; ///< in the file
};

} // namespace coppice::imports
