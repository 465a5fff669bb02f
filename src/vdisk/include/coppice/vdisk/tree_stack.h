#pragma once

#include "coppice/vdisk/tree.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace coppice::vdisk {

/// Layers one over another, topmost first, as overlayfs stacks them. The trees are shared: a layer that two stacks
/// have in common should be one object, `diff` passes over it then.
using TreeStack = std::vector<std::shared_ptr<const Tree>>;

/// The stack as one tree, with its hard links within each layer. Content is read from the layers when it is wanted;
/// they live as long as the tree.
/// @param below what the result will lie on; empty: it is a whole. There are whiteouts and opaque marks only where they
/// hide something of it: one that hides nothing the kernel would list as a name without a file, in a directory that it
/// need not merge. Errors: Unavailable (limits of a tree)
Result<Tree> merge_trees(const TreeStack& stack, const TreeStack& below = {});

/// The most layers that any one directory is in: cold look-ups in it cost as many. Source: research on overlay depth
std::size_t most_layers_of_a_directory(const TreeStack& stack);

struct Change {
    enum class Kind : unsigned char { Added, Removed, Content, Attributes, Type };
    Kind kind = Kind::Added;
    std::string path;                           ///< from the root, without a slash in front; empty: the root
    std::uint32_t old_mode = 0, new_mode = 0;   ///< 0: not there
    std::uint64_t old_bytes = 0, new_bytes = 0; ///< of files
};
/// What leads from `old_stack` to `new_stack`, in byte order of the names, directories before what is in them. Of
/// removed and added directories everything below is told, too. Equal content is passed over without reading it where
/// both stacks take it from one layer; otherwise files of equal size are compared.
/// Errors: those of content and of `take`
Result<> diff(const TreeStack& old_stack, const TreeStack& new_stack,
              const std::function<Result<>(const Change&)>& take);

} // namespace coppice::vdisk
