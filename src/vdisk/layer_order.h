#pragma once

#include "coppice/vdisk/tree.h"

namespace coppice::vdisk {

/// A tree's inodes as a layer has them.
struct LayerOrder {
    std::vector<InodeId> inodes;      ///< in walk order
    std::vector<std::uint32_t> links; ///< by inode id; 0: not in the tree
    std::uint64_t file_bytes = 0;
};

/// @param tree sorted
/// Errors: Unavailable (too deep, too much content)
Result<LayerOrder> order_for_layer(const Tree& tree);

} // namespace coppice::vdisk
