#include "stack_view.h"

#include <algorithm>

namespace coppice::vdisk {

bool is_opaque(const Place& directory)
{
    const auto xattrs = directory.tree->xattrs(directory.inode);
    return std::any_of(xattrs.begin(), xattrs.end(), [](const Xattr& xattr) { return xattr.name == kOpaqueXattr; });
}

Merged root_of(const TreeStack& stack)
{
    Merged root;
    // The kernel merges the roots of all layers, whatever marks they bear.
    for (const auto& tree : stack)
        root.places.push_back({.tree = tree.get(), .inode = Tree::root()});
    return root;
}

std::map<std::string_view, Merged> entries_of(const Merged& directory)
{
    std::map<std::string_view, Merged> found;
    for (const Place& part : directory.places) { // topmost first
        for (const auto& entry : part.tree->entries(part.inode)) {
            const Place place{.tree = part.tree, .inode = entry.inode};
            const bool is_directory = place.tree->is_directory(place.inode);
            const auto [at, first] = found.try_emplace(entry.name);
            Merged& merged = at->second;
            if (first) {
                merged.places.push_back(place);
                merged.hidden = place.tree->is_whiteout(place.inode);
                merged.closed = is_directory && is_opaque(place);
            } else if (merged.is_directory() && !merged.closed) {
                // What is no directory ends the merge as an opaque mark does.
                if (is_directory) merged.places.push_back(place);
                merged.closed = !is_directory || is_opaque(place);
            }
        }
    }
    return found;
}

} // namespace coppice::vdisk
