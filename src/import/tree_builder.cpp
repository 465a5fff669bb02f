#include "tree_builder.h"

#include "coppice/base/text.h"
#include "coppice/base/units.h"

#include <sys/stat.h>

namespace coppice::imports {

using vdisk::InodeId;
using vdisk::Tree;

namespace {

constexpr std::string_view kWhiteout = ".wh.", kOpaque = ".wh..wh..opq", kReserved = ".wh..wh.";
constexpr vdisk::Attributes kUnnamedDirectory{.mode = S_IFDIR | 0755, .uid = 0, .gid = 0, .mtime = {}};

std::unexpected<Error> hostile(std::string message) { return fail(ErrorKind::Invalid, std::move(message)); }

} // namespace

Result<> TreeBuilder::begin_layer()
{
    if (layer_ >= limits_.layers || layer_ == UINT16_MAX)
        return fail(ErrorKind::Unavailable, cat("more than ", limits_.layers, " layers"));
    ++layer_;
    linked_.clear();
    return {};
}

/// Without "." and empty ones.
Result<std::vector<std::string_view>> TreeBuilder::components_of(std::string_view path) const
{
    if (path.starts_with('/') && form_ == Form::Plain) return hostile("an absolute name");
    if (path.size() > limits_.path_bytes) return fail(ErrorKind::Unavailable, "a name that is too long");
    if (path.find('\0') != std::string_view::npos) return hostile("a name with a zero byte");
    std::vector<std::string_view> components;
    while (!path.empty()) {
        const auto component = next_part(path, '/');
        if (component.empty() || component == ".") continue;
        if (component == "..") return hostile("a name that leads out of its directory (..)");
        if (component.size() > 255) return hostile("a name that is longer than 255 bytes");
        components.push_back(component);
    }
    if (components.size() > limits_.depth)
        return fail(ErrorKind::Unavailable, cat("more than ", limits_.depth, " directories below each other"));
    return components;
}

/// Makes directories that no entry has named. What a layer puts into a directory keeps this against the layer's own
/// whiteouts, whether it names the directory or not.
Result<TreeBuilder::Spot> TreeBuilder::find_spot(const std::vector<std::string_view>& components, bool whiteout)
{
    if (components.empty()) return Spot{Tree::root(), {}};
    InodeId at = Tree::root();
    for (std::size_t i = 0; i + 1 < components.size(); ++i) {
        const auto name = components[i];
        auto next = tree_.find(at, name);
        if (!next) {
            if (name.starts_with(kWhiteout)) return hostile("a name below a whiteout");
            next = TRY(new_inode(kUnnamedDirectory));
            TRY(tree_.link(at, name, *next));
        }
        if (tree_.is_link(*next)) return hostile(cat("a name that leads through the symbolic link ", printable(name)));
        if (!tree_.is_directory(*next))
            return hostile(cat("a name below ", printable(name), ", which is no directory"));
        at = *next;
        if (!whiteout) say(at);
    }
    return Spot{at, components.back()};
}

Result<InodeId> TreeBuilder::new_inode(const vdisk::Attributes& attributes, vdisk::DeviceNumber device)
{
    const auto inode = TRY(tree_.add(attributes, device));
    layer_of_.resize(tree_.inode_count(), layer_);
    return inode;
}

bool TreeBuilder::is_lower(InodeId directory, std::string_view name, InodeId inode) const
{
    if (layer_of_[static_cast<std::size_t>(inode)] == layer_) return false;
    return linked_.empty() || !linked_.contains(std::pair{directory, std::string{name}});
}

/// What lower layers have; what this one has said already stays.
void TreeBuilder::remove_lower(InodeId directory, std::string_view name)
{
    // A list instead of recursion: the tree may be deep.
    struct Doomed {
        InodeId directory;
        std::string name;
    };
    std::vector<Doomed> doomed{{directory, std::string{name}}};
    while (!doomed.empty()) {
        const Doomed next = std::move(doomed.back());
        doomed.pop_back();
        const auto inode = tree_.find(next.directory, next.name);
        if (!inode) continue;
        if (is_lower(next.directory, next.name, *inode))
            tree_.unlink(next.directory, next.name);
        else if (tree_.is_directory(*inode))
            for (const auto& entry : tree_.entries(*inode))
                doomed.push_back({*inode, std::string{entry.name}});
    }
}

Result<> TreeBuilder::white_out(Spot spot)
{
    if (spot.name == kOpaque) {
        for (const auto& entry : tree_.entries(spot.directory))
            remove_lower(spot.directory, entry.name);
        return {};
    }
    if (spot.name.starts_with(kReserved)) return fail(ErrorKind::Unsupported, "a whiteout of an unknown kind (AUFS)");
    const auto name = spot.name.substr(kWhiteout.size());
    if (name.empty() || name == "." || name == "..") return hostile("a whiteout of nothing");
    remove_lower(spot.directory, name);
    return {};
}

/// Takes away what has the name now.
Result<> TreeBuilder::make_room(Spot spot)
{
    const auto old = tree_.find(spot.directory, spot.name);
    if (!old) return {};
    if (tree_.is_directory(*old) && !is_lower(spot.directory, spot.name, *old))
        for (const auto& entry : tree_.entries(*old))
            if (!is_lower(*old, entry.name, entry.inode))
                return hostile("something else in place of a directory that has entries");
    tree_.unlink(spot.directory, spot.name);
    return {};
}

Result<> TreeBuilder::add_hard_link(const TarEntry& entry, Spot spot)
{
    const auto components = TRY_DOING("the hard link's target", components_of(entry.target));
    std::optional<InodeId> target = Tree::root();
    for (const auto component : components) {
        target = tree_.is_directory(*target) ? tree_.find(*target, component) : std::nullopt;
        if (!target) return hostile(cat("a hard link to ", printable(entry.target), ", which is not there"));
    }
    if (tree_.is_directory(*target)) return hostile(cat("a hard link to the directory ", printable(entry.target)));
    if (layer_of_[static_cast<std::size_t>(*target)] != layer_)
        linked_.emplace(spot.directory, std::string{spot.name}); // the inode's other names are still of lower layers
    if (tree_.find(spot.directory, spot.name) == target) return {};
    TRY(make_room(spot));
    return tree_.link(spot.directory, spot.name, *target);
}

Result<> TreeBuilder::add_directory(const TarEntry& entry, Spot spot)
{
    auto inode = spot.name.empty() ? std::optional{Tree::root()} : tree_.find(spot.directory, spot.name);
    if (inode && tree_.is_directory(*inode)) { // its entries stay
        TRY(tree_.set_attributes(*inode, entry.attributes));
        say(*inode);
        return tree_.set_xattrs(*inode, entry.xattrs);
    }
    TRY(make_room(spot));
    inode = TRY(new_inode(entry.attributes));
    TRY(tree_.set_xattrs(*inode, entry.xattrs));
    return tree_.link(spot.directory, spot.name, *inode);
}

Result<> TreeBuilder::add_inode(const TarEntry& entry, Spot spot, TarReader& reader, Contents& contents)
{
    const auto mode = entry.attributes.mode;
    if (S_ISCHR(mode) && entry.device == vdisk::DeviceNumber{})
        return hostile("a device 0/0, which is overlayfs's whiteout and no file");
    if (entry.size > limits_.logical_bytes - logical_bytes_)
        return fail(ErrorKind::Unavailable, cat("with this file of ", format_bytes(entry.size), " there are more than ",
                                                format_bytes(limits_.logical_bytes), " of files"));
    TRY(make_room(spot));
    const auto inode = TRY(new_inode(entry.attributes, entry.device));
    TRY(tree_.set_xattrs(inode, entry.xattrs));
    if (S_ISLNK(mode)) TRY(tree_.set_target(inode, entry.target));
    TRY(tree_.link(spot.directory, spot.name, inode));
    if (S_ISREG(mode)) {
        logical_bytes_ += entry.size;
        const auto place = TRY(contents.take(entry, reader));
        tree_.set_content(inode, place.source, place.key, entry.size);
    }
    return {};
}

Result<> TreeBuilder::add_checked(const TarEntry& entry, TarReader& reader, Contents& contents)
{
    if (++entries_ > limits_.entries)
        return fail(ErrorKind::Unavailable, cat("more than ", limits_.entries, " entries"));
    const auto components = TRY(components_of(entry.path));
    const bool directory = entry.kind == TarEntry::Kind::Inode && S_ISDIR(entry.attributes.mode);
    if (components.empty() && !directory) return hostile("something else in place of the root directory");
    const bool whiteout = !components.empty() && components.back().starts_with(kWhiteout);
    const auto spot = TRY(find_spot(components, whiteout));
    if (whiteout) {
        if (form_ == Form::Layers && !directory) return white_out(spot);
        return fail(Error{ErrorKind::Invalid, "names that begin with .wh. are whiteouts of image layers"}.hint(
            "this looks like one layer of an image: import the whole image"));
    }
    if (entry.kind == TarEntry::Kind::HardLink) return add_hard_link(entry, spot);
    if (directory) return add_directory(entry, spot);
    return add_inode(entry, spot, reader, contents);
}

Result<> TreeBuilder::add(const TarEntry& entry, TarReader& reader, Contents& contents)
{
    auto done = add_checked(entry, reader, contents);
    if (done && tree_.text_bytes() > limits_.text_bytes)
        done = fail(ErrorKind::Unavailable,
                    cat("more than ", format_bytes(limits_.text_bytes), " of names and attributes"));
    if (!done) return fail(std::move(done).error().with(cat("entry ", printable(entry.path))));
    return {};
}

} // namespace coppice::imports
