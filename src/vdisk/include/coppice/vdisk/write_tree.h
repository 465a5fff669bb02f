#pragma once

#include "coppice/store/watch.h"
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
/// @param watch asked before each entry and each part of a file; ended by it, what was written by then stays
/// Errors: NotFound (the path), Unavailable (disk full), Denied, those of the content and of `watch`
Result<> write_tree(const Tree& tree, const std::string& path, int root, const store::Watch& watch = store::unwatched);

} // namespace coppice::vdisk
