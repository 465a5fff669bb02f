#pragma once

#include "coppice/vdisk/tree.h"

#include <string>

namespace coppice::vdisk {

/// Writes what is at `path` in a tree into a directory, with its owners, modes, times and attributes: the way back from
/// a snapshot to files.
///
/// Files appear whole, under a name of their own first. What was there of another type is removed; a directory's other
/// entries stay. Missing directories above `path` are made like those in the tree. Links inside `root` are followed as
/// if it were the root of everything. Hard links become files of their own. Blocks.
/// @param tree merged: without whiteouts
/// Errors: NotFound (the path), Unavailable (disk full), Denied, those of the content
Result<> write_tree(const Tree& tree, const std::string& path, int root);

} // namespace coppice::vdisk
