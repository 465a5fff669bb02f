#include "coppice/base/text.h"
#include "coppice/vdisk/layer_reader.h"
#include "erofs_format.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <sys/stat.h>

namespace coppice::vdisk {

namespace {

/// A file whose content lies in a blob.
class BlobFile final : public OpenContent {
public:
    BlobFile(std::uint64_t bytes, std::shared_ptr<const OpenContent> blob) : bytes_{bytes}, blob_{std::move(blob)} {}

    void add(const Extent& extent)
    {
        blocks_.push_back(extent.blob_offset ? static_cast<std::uint32_t>(*extent.blob_offset / kBlockBytes) : kHole);
    }
    Result<> read(std::uint64_t offset, std::span<char> out) const override
    {
        COPPICE_CHECK(offset <= bytes_ && out.size() <= bytes_ - offset);
        while (!out.empty()) {
            const std::uint64_t within = offset % kPieceBytes;
            const std::uint32_t block = blocks_[offset / kPieceBytes];
            const auto part = out.first(std::min<std::uint64_t>(out.size(), kPieceBytes - within));
            if (block == kHole)
                std::memset(part.data(), 0, part.size());
            else
                TRY(blob_->read(block * kBlockBytes + within, part));
            offset += part.size();
            out = out.subspan(part.size());
        }
        return {};
    }
    [[nodiscard]] std::uint64_t next_data(std::uint64_t offset) const override
    {
        std::size_t piece = offset / kPieceBytes;
        while (piece < blocks_.size() && blocks_[piece] == kHole)
            ++piece;
        return std::max(offset, std::min(piece * kPieceBytes, bytes_));
    }

private:
    std::uint64_t bytes_;
    std::vector<std::uint32_t> blocks_; ///< of each piece
    std::shared_ptr<const OpenContent> blob_;
};

/// The files of a layer; a key is a nid.
class LayerSource final : public ContentSource {
public:
    LayerSource(LayerReader reader, std::shared_ptr<const OpenContent> blob)
        : reader_{std::move(reader)}, blob_{std::move(blob)}
    {
    }
    Result<std::unique_ptr<OpenContent>> open(std::uint64_t key, std::uint64_t bytes) const override
    {
        const std::lock_guard lock{mutex_};
        const auto inode = TRY(reader_.inode(Nid{key}));
        if (!S_ISREG(inode.attributes.mode) || inode.size != bytes)
            return fail(ErrorKind::Conflict, "the layer was changed since it was listed");
        auto file = std::make_unique<BlobFile>(bytes, blob_);
        TRY(reader_.extents(inode, [&](const Extent& extent) {
            file->add(extent);
            return Result<>{};
        }));
        return file;
    }

private:
    mutable std::mutex mutex_;
    mutable LayerReader reader_;
    std::shared_ptr<const OpenContent> blob_;
};

/// Inodes are made in walk order, so that an ordinal is the tree's id.
InodeId id_of(std::uint32_t ordinal) { return InodeId{ordinal}; }

} // namespace

Result<Tree> read_layer(std::shared_ptr<const OpenContent> metadata, std::uint64_t bytes,
                        std::shared_ptr<const OpenContent> blob)
{
    auto reader = TRY(LayerReader::open(metadata, bytes));
    const auto source =
        std::make_shared<LayerSource>(TRY(LayerReader::open(std::move(metadata), bytes)), std::move(blob));
    Tree tree;
    TRY(reader.walk([&](const LayerReader::Step& step) -> Result<> {
        const auto& inode = step.inode;
        const InodeId id = id_of(inode.ordinal);
        if (step.name.empty()) {
            TRY(tree.set_attributes(id, inode.attributes));
            return tree.set_xattrs(id, TRY(reader.xattrs(inode)));
        }
        if (!step.first) return tree.link(id_of(step.directory), step.name, id);
        COPPICE_CHECK(TRY(tree.add(inode.attributes, inode.device)) == id);
        TRY(tree.link(id_of(step.directory), step.name, id));
        TRY(tree.set_xattrs(id, TRY(reader.xattrs(inode))));
        if (tree.is_link(id)) return tree.set_target(id, TRY(reader.target(inode)));
        if (tree.is_file(id)) tree.set_content(id, source, static_cast<std::uint64_t>(inode.nid), inode.size);
        return {};
    }));
    tree.sort();
    return tree;
}

} // namespace coppice::vdisk
