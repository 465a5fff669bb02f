#pragma once

#include "spool.h"

#include <set>

namespace coppice::imports {

/// Puts the entries of archives into a Tree, one after another; a later entry of the same name wins. Nothing is ever
/// looked up outside of the tree, no link is followed, and content is taken only after everything else was found right.
///
/// Device nodes are kept: in a layer they are data, since layers are mounted `nodev`. What pretends to be overlayfs's
/// own (devices 0/0) is refused; `trusted.*` never gets here. Errors: Invalid (names, links, types: hostile or broken),
/// Unavailable (limits), each naming the entry
class TreeBuilder {
public:
    enum class Form : unsigned char {
        Plain, ///< one whole tree
        Layers ///< of an OCI image: ".wh." names take away what lower layers have, and a slash in front means nothing
    };
    TreeBuilder(const Limits& limits, Form form) : limits_{limits}, form_{form}, layer_of_(1, 0) {}

    /// A further layer over what is there. Errors: Unavailable (too many)
    Result<> begin_layer();
    Result<> add(const TarEntry& entry, TarReader& reader, Contents& contents);
    [[nodiscard]] vdisk::Tree take_tree() && { return std::move(tree_); }

private:
    struct Spot { ///< where a name belongs
        vdisk::InodeId directory;
        std::string_view name; ///< empty: the root
    };
    Result<> add_checked(const TarEntry& entry, TarReader& reader, Contents& contents);
    Result<std::vector<std::string_view>> components_of(std::string_view path) const;
    Result<Spot> find_spot(const std::vector<std::string_view>& components, bool whiteout);
    Result<> white_out(Spot spot);
    void remove_lower(vdisk::InodeId directory, std::string_view name);
    Result<> make_room(Spot spot);
    Result<> add_hard_link(const TarEntry& entry, Spot spot);
    Result<> add_directory(const TarEntry& entry, Spot spot);
    Result<> add_inode(const TarEntry& entry, Spot spot, TarReader& reader, Contents& contents);
    Result<vdisk::InodeId> new_inode(const vdisk::Attributes& attributes, vdisk::DeviceNumber device = {});
    /// Whether lower layers have said that `inode` has this name, and the present one has not said it again.
    [[nodiscard]] bool is_lower(vdisk::InodeId directory, std::string_view name, vdisk::InodeId inode) const;
    void say(vdisk::InodeId inode) { layer_of_[static_cast<std::size_t>(inode)] = layer_; }

    Limits limits_;
    Form form_;
    vdisk::Tree tree_;
    std::uint16_t layer_ = 0;
    std::vector<std::uint16_t> layer_of_; ///< by inode: the layer that made it; the last one that named a directory
    /// Names that the present layer has given to inodes of lower ones, by directory.
    std::set<std::pair<vdisk::InodeId, std::string>> linked_;
    std::uint64_t entries_ = 0, logical_bytes_ = 0;
};

} // namespace coppice::imports
