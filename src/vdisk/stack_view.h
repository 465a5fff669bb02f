#pragma once

#include "coppice/vdisk/tree_stack.h"

#include <map>

namespace coppice::vdisk {

/// An inode of one tree.
struct Place {
    const Tree* tree = nullptr;
    InodeId inode{};
    bool operator==(const Place&) const = default;
};
/// What is at a path of a stack: one inode; or a directory, which may be merged from several, topmost first.
struct Merged {
    std::vector<Place> places; ///< never empty
    bool closed = false;       ///< a directory that hides what is below the stack
    bool hidden = false;       ///< a whiteout: nothing is here

    [[nodiscard]] const Place& top() const { return places.front(); }
    [[nodiscard]] bool is_directory() const { return !hidden && top().tree->is_directory(top().inode); }
};
Merged root_of(const TreeStack& stack);
bool is_opaque(const Place& directory);
/// The entries of a merged directory; views into the trees' names.
std::map<std::string_view, Merged> entries_of(const Merged& directory);

} // namespace coppice::vdisk
