#pragma once

#include "coppice/import/context.h"
#include "coppice/vdisk/tree.h"

namespace coppice::imports {

/// vdisk::read_tree of a directory (borrowed) that may be hostile, such as the root of a disk: within the Limits, with
/// progress, until a stop request. Blocks. Errors: Unavailable (limits, stopped), each naming the entry; those of
/// read_tree
Result<vdisk::Tree> list_tree(const os::Fd& directory, const Context& context);

} // namespace coppice::imports
