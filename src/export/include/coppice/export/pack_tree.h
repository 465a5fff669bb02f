#pragma once

#include "coppice/vdisk/layer_writer.h"

#include <string>

namespace coppice::exports {

/// Writes what is at `path` (absolute or from the working directory on; links on the way are followed, one at its end
/// is not) as a tar archive, under its own name, "/" as ".": files, links, directories, FIFOs and devices with owner,
/// mode and time. Sockets, and what other file systems have mounted below, are left out. It may change meanwhile: no
/// name comes twice, and each file has the size that it had at first.
/// Errors: NotFound, Denied, Invalid (too deep); those of `out`
Result<> pack_tree(const std::string& path, vdisk::ByteSink& out);

} // namespace coppice::exports
