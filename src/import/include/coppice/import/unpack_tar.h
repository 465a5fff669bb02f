#pragma once

#include "coppice/os/fd.h"

#include <optional>
#include <string>

namespace coppice::imports {

struct UnpackTar {
    std::string directory; ///< that is there
    /// When given, the first component of each name is taken off; when it is not empty, this is put in its place.
    std::optional<std::string> first = {};
    bool archive = false; ///< with owners and all bits of modes
};

/// Unpacks an archive on the disk, for a caller whose root and rights are those of the tree that it writes into: links
/// that are there are followed as far as they lead. No name of the archive leads out of the directory by "..". What is
/// there and no directory is replaced.
/// Errors: Corrupt, Conflict (a directory where a file is to be, or the reverse), Unavailable (no space)
Result<> unpack_tar(os::Fd input, const UnpackTar& how);

} // namespace coppice::imports
