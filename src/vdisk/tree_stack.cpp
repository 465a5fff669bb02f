#include "coppice/vdisk/tree_stack.h"

#include "coppice/base/text.h"
#include "stack_view.h"

#include <algorithm>
#include <optional>

namespace coppice::vdisk {

namespace {

/// The files of a tree that another tree has taken over; a key is an inode.
class TreeSource final : public ContentSource {
public:
    explicit TreeSource(std::shared_ptr<const Tree> tree) : tree_{std::move(tree)} {}
    Result<std::unique_ptr<OpenContent>> open(std::uint64_t key, std::uint64_t bytes) const override
    {
        const InodeId inode{static_cast<std::uint32_t>(key)};
        COPPICE_CHECK(tree_->size(inode) == bytes);
        return tree_->open_content(inode);
    }

private:
    std::shared_ptr<const Tree> tree_;
};

class Merge {
public:
    explicit Merge(const TreeStack& stack)
    {
        for (const auto& tree : stack)
            sources_.emplace(tree.get(), std::make_shared<TreeSource>(tree));
    }
    Result<Tree> run(const Merged& root, std::optional<Merged> below)
    {
        const Place& top = root.top();
        TRY(tree_.set_attributes(Tree::root(), top.tree->attributes(top.inode)));
        TRY(copy_xattrs(root, Tree::root(), false));
        waiting_.push_back({.from = root, .to = Tree::root(), .below = std::move(below)});
        while (!waiting_.empty()) {
            const Waiting next = std::move(waiting_.back());
            waiting_.pop_back();
            std::map<std::string_view, Merged> below_entries;
            if (next.below) below_entries = entries_of(*next.below);
            for (const auto& [name, entry] : entries_of(next.from)) {
                const auto found = below_entries.find(name);
                const bool hides = found != below_entries.end() && !found->second.hidden;
                TRY(add(entry, next.to, name, hides ? &found->second : nullptr));
            }
        }
        tree_.sort();
        return std::move(tree_);
    }

private:
    struct Waiting {
        Merged from;
        InodeId to;
        std::optional<Merged> below; ///< the directory that it will be merged with
    };

    /// @param below what is in the same place below, or null
    Result<> add(const Merged& entry, InodeId directory, std::string_view name, const Merged* below)
    {
        if (entry.hidden) return below == nullptr ? Result<>{} : tree_.link(directory, name, TRY(tree_.add_whiteout()));
        if (!entry.is_directory()) return tree_.link(directory, name, TRY(copy_other(entry.top())));
        const Place& top = entry.top();
        const auto made = TRY(tree_.add(top.tree->attributes(top.inode)));
        TRY(tree_.link(directory, name, made));
        const bool meets = below != nullptr && below->is_directory();
        TRY(copy_xattrs(entry, made, meets && entry.closed));
        waiting_.push_back({.from = entry, .to = made, .below = {}});
        if (meets && !entry.closed) waiting_.back().below = *below;
        return {};
    }

    /// What is no directory; the same inode again for a further name.
    Result<InodeId> copy_other(const Place& from)
    {
        const auto known = copied_.find({from.tree, from.inode});
        if (known != copied_.end()) return known->second;
        const auto made = TRY(tree_.add(from.tree->attributes(from.inode), from.tree->device(from.inode)));
        TRY(tree_.set_xattrs(made, from.tree->xattrs(from.inode)));
        if (from.tree->is_link(from.inode)) TRY(tree_.set_target(made, from.tree->target(from.inode)));
        if (from.tree->is_file(from.inode))
            tree_.set_content(made, sources_.at(from.tree), static_cast<std::uint64_t>(from.inode),
                              from.tree->size(from.inode));
        copied_.emplace(std::pair{from.tree, from.inode}, made);
        return made;
    }

    Result<> copy_xattrs(const Merged& directory, InodeId to, bool opaque)
    {
        auto xattrs = directory.top().tree->xattrs(directory.top().inode);
        std::erase_if(xattrs, [](const Xattr& xattr) { return xattr.name == kOpaqueXattr; });
        if (opaque) xattrs.push_back({.name = std::string{kOpaqueXattr}, .value = "y"});
        return tree_.set_xattrs(to, std::move(xattrs));
    }

    Tree tree_;
    std::vector<Waiting> waiting_;
    std::map<const Tree*, std::shared_ptr<TreeSource>> sources_;
    std::map<std::pair<const Tree*, InodeId>, InodeId> copied_;
};

} // namespace

Result<Tree> merge_trees(const TreeStack& stack, const TreeStack& below)
{
    if (stack.empty()) return fail(ErrorKind::Invalid, "there are no layers to merge");
    std::optional<Merged> meets;
    if (!below.empty()) meets = root_of(below);
    return Merge{stack}.run(root_of(stack), std::move(meets));
}

std::size_t most_layers_of_a_directory(const TreeStack& stack)
{
    std::size_t most = 0;
    if (stack.empty()) return most;
    std::vector<Merged> waiting{root_of(stack)};
    while (!waiting.empty()) {
        const Merged next = std::move(waiting.back());
        waiting.pop_back();
        most = std::max(most, next.places.size());
        for (auto& [name, entry] : entries_of(next))
            if (entry.is_directory() && entry.places.size() > 1) waiting.push_back(std::move(entry));
    }
    return most;
}

} // namespace coppice::vdisk
