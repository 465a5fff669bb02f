#include "layer_order.h"

#include "coppice/base/text.h"
#include "erofs_format.h"

#include <algorithm>

namespace coppice::vdisk {

namespace {

class Walk {
public:
    explicit Walk(const Tree& tree) : tree_{tree} { order_.links.resize(tree.inode_count()); }

    Result<LayerOrder> run()
    {
        order_.inodes.push_back(Tree::root());
        links(Tree::root()) = 2;
        waiting_.push_back({.directory = Tree::root(), .depth = 0});
        while (!waiting_.empty()) {
            const Waiting next = waiting_.back();
            waiting_.pop_back();
            TRY(visit(next));
        }
        return std::move(order_);
    }

private:
    struct Waiting {
        InodeId directory;
        std::uint32_t depth;
    };
    std::uint32_t& links(InodeId inode) { return order_.links[static_cast<std::size_t>(inode)]; }

    Result<> visit(const Waiting& at)
    {
        const std::size_t above = waiting_.size();
        for (const auto& entry : tree_.entries(at.directory)) {
            if (links(entry.inode)++ == 0) {
                order_.inodes.push_back(entry.inode);
                if (tree_.is_file(entry.inode)) TRY(count(tree_.size(entry.inode)));
            }
            if (!tree_.is_directory(entry.inode)) continue;
            links(entry.inode) = 2;
            ++links(at.directory);
            waiting_.push_back({.directory = entry.inode, .depth = at.depth + 1});
        }
        if (waiting_.size() > above && at.depth >= kMostDepth)
            return fail(ErrorKind::Unavailable, cat("more than ", kMostDepth, " directories inside each other"));
        std::reverse(waiting_.begin() + static_cast<std::ptrdiff_t>(above), waiting_.end()); // the first one is next
        return {};
    }

    Result<> count(std::uint64_t bytes)
    {
        if (bytes > kMostFileBytes - order_.file_bytes)
            return fail(Error{ErrorKind::Unavailable, "the files have more than 8 TiB together"}.hint(
                "a sparse file counts with its holes: leave it out, or make it shorter"));
        order_.file_bytes += bytes;
        return {};
    }

    const Tree& tree_;
    LayerOrder order_;
    std::vector<Waiting> waiting_;
};

} // namespace

Result<LayerOrder> order_for_layer(const Tree& tree) { return Walk{tree}.run(); }

} // namespace coppice::vdisk
