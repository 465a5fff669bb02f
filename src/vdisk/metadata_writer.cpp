#include "metadata_writer.h"

#include "coppice/base/text.h"
#include "coppice/os/mount.h"
#include "image_output.h"
#include "layer_layout.h"
#include "uuid_hash.h"

#include <algorithm>
#include <sys/stat.h>

namespace coppice::vdisk {

namespace {

/// A directory's entries with "." and ".." in their places.
std::vector<Tree::Entry> dirents(const Tree& tree, InodeId directory)
{
    auto all = tree.entries(directory);
    const auto before = [](const Tree::Entry& a, const Tree::Entry& b) { return a.name < b.name; };
    for (const auto& dots : {Tree::Entry{".", directory}, Tree::Entry{"..", tree.parent(directory)}})
        all.insert(std::lower_bound(all.begin(), all.end(), dots, before), dots);
    return all;
}

class HashSink final : public ByteSink {
public:
    Result<> write(std::string_view bytes) override
    {
        hash_.add(bytes);
        return {};
    }
    [[nodiscard]] std::string uuid() const { return hash_.uuid(); }

private:
    UuidHash hash_;
};

class MetadataWriter {
public:
    MetadataWriter(const Tree& tree, const LayerOrder& order, const BlobWriter& blob)
        : tree_{tree}, order_{order}, blob_{blob}, nids_(tree.inode_count())
    {
    }

    /// Finds every inode's place.
    Result<std::uint64_t> lay_out();
    Result<> write(ByteSink& sink, const std::string* uuid) const;

private:
    struct Cursors {
        std::size_t piece = 0;        ///< next one's index
        std::uint64_t data_block = 0; ///< next free one
    };
    [[nodiscard]] InodeShape shape_of(InodeId inode) const;
    [[nodiscard]] std::uint64_t start_of(InodeId inode) const { return nid_of(inode) * kNidBytes; }
    [[nodiscard]] std::uint64_t nid_of(InodeId inode) const { return nids_[static_cast<std::size_t>(inode)]; }
    void append_superblock(std::string& out, const std::string* uuid) const;
    Result<> append_inode(ImageOutput& out, std::size_t index, Cursors& cursors) const;
    Result<> append_indexes(ImageOutput& out, std::uint64_t pieces, Cursors& cursors) const;
    /// The directory's blocks, or the link's target, without padding at the end.
    [[nodiscard]] std::string data_of(InodeId inode) const;

    const Tree& tree_;
    const LayerOrder& order_;
    const BlobWriter& blob_;
    std::vector<std::uint32_t> nids_; ///< by inode id
    std::uint64_t inodes_end_ = 0, first_data_block_ = 0, blocks_ = 0;
};

InodeShape MetadataWriter::shape_of(InodeId inode) const
{
    InodeShape shape{.mode = tree_.mode(inode), .xattr_bytes = tree_.encoded_xattrs(inode).size()};
    if (tree_.is_directory(inode)) {
        DirectorySize size;
        for (const auto& entry : dirents(tree_, inode))
            size.add(entry.name.size());
        shape.data_bytes = size.bytes();
    } else if (tree_.is_file(inode) || tree_.is_link(inode)) {
        shape.data_bytes = tree_.size(inode);
    }
    return shape;
}

Result<std::uint64_t> MetadataWriter::lay_out()
{
    std::uint64_t at = kInodesOffset, data_blocks = 0;
    for (const InodeId inode : order_.inodes) {
        const InodePlace place = place_inode(shape_of(inode), at);
        if (place.start / kNidBytes > UINT32_MAX) return fail(ErrorKind::Unavailable, "more than 128 GiB of metadata");
        nids_[static_cast<std::size_t>(inode)] = static_cast<std::uint32_t>(place.start / kNidBytes);
        at = place.end;
        data_blocks += place.data_blocks;
    }
    inodes_end_ = at;
    first_data_block_ = data_start(at) / kBlockBytes;
    blocks_ = first_data_block_ + data_blocks;
    if (blocks_ + blob_.blocks() > kMostBlocks)
        return fail(ErrorKind::Unavailable, "the files have more than 16 TiB of content");
    return blocks_ * kBlockBytes;
}

void MetadataWriter::append_superblock(std::string& out, const std::string* uuid) const
{
    out.resize(kInodesOffset);
    char* const super = out.data() + kSuperblockOffset;
    put_at(super + superblock::kMagic, static_cast<std::uint32_t>(os::kErofsMagic));
    put_at(super + superblock::kFeatureCompat, kFeatureCompat);
    put_at<std::uint8_t>(super + superblock::kBlockBits, 12);
    put_at(super + superblock::kRootNid, static_cast<std::uint16_t>(nid_of(Tree::root())));
    put_at<std::uint64_t>(super + superblock::kInodes, order_.inodes.size());
    put_at(super + superblock::kBlocks, static_cast<std::uint32_t>(blocks_));
    if (uuid != nullptr) std::copy(uuid->begin(), uuid->end(), super + superblock::kUuid);
    const bool device = blob_.blocks() > 0;
    put_at(super + superblock::kFeatureIncompat, kFeatureChunked | (device ? kFeatureDeviceTable : 0));
    if (!device) return;
    put_at<std::uint16_t>(super + superblock::kExtraDevices, 1);
    put_at<std::uint16_t>(super + superblock::kDeviceSlot, kDeviceSlotOffset / kDeviceSlotBytes);
    char* const slot = out.data() + kDeviceSlotOffset;
    put_at(slot + kSlotBlocks, static_cast<std::uint32_t>(blob_.blocks()));
    put_at(slot + kSlotMapped, static_cast<std::uint32_t>(blocks_));
}

std::string MetadataWriter::data_of(InodeId inode) const
{
    if (tree_.is_link(inode)) return std::string{tree_.target(inode)};
    std::string data;
    const auto all = dirents(tree_, inode);
    DirectorySize size;
    const auto append_block = [&](std::size_t first, std::size_t last) {
        data.resize(round_up(data.size(), kBlockBytes));
        std::size_t name_offset = (last - first) * kDirentBytes;
        for (std::size_t i = first; i < last; ++i) {
            put<std::uint64_t>(data, nid_of(all[i].inode));
            put<std::uint16_t>(data, static_cast<std::uint16_t>(name_offset));
            put<std::uint16_t>(data, file_type_of(tree_.mode(all[i].inode)));
            name_offset += all[i].name.size();
        }
        for (std::size_t i = first; i < last; ++i)
            data += all[i].name;
    };
    std::size_t first = 0;
    for (std::size_t i = 0; i < all.size(); ++i)
        if (size.add(all[i].name.size())) append_block(std::exchange(first, i), i);
    append_block(first, all.size());
    return data;
}

Result<> MetadataWriter::append_indexes(ImageOutput& out, std::uint64_t pieces, Cursors& cursors) const
{
    for (std::uint64_t i = 0; i < pieces; ++i) {
        const std::uint32_t block = blob_.piece_blocks()[cursors.piece++];
        put<std::uint16_t>(out.buffer(), 0);
        put<std::uint16_t>(out.buffer(), block == kHole ? 0 : 1);
        put(out.buffer(), block);
        TRY(out.flush_some());
    }
    return {};
}

Result<> MetadataWriter::append_inode(ImageOutput& out, std::size_t index, Cursors& cursors) const
{
    const InodeId inode = order_.inodes[index];
    const auto attributes = tree_.attributes(inode);
    const auto xattrs = tree_.encoded_xattrs(inode);
    const InodeShape shape = shape_of(inode);
    const InodePlace place = place_inode(shape, start_of(inode));
    std::uint32_t in_union = 0;
    if (S_ISREG(shape.mode))
        in_union = kChunkFormat;
    else if (S_ISCHR(shape.mode) || S_ISBLK(shape.mode))
        in_union = encode_device(tree_.device(inode));
    else if (place.data_blocks > 0)
        in_union = static_cast<std::uint32_t>(cursors.data_block);
    cursors.data_block += place.data_blocks;

    TRY(out.pad_to(place.start));
    std::string& bytes = out.buffer();
    const std::size_t start = bytes.size();
    put(bytes, static_cast<std::uint16_t>(1 + 2 * place.layout));
    put(bytes, static_cast<std::uint16_t>(xattrs.empty() ? 0 : xattrs.size() / 4 + 1));
    put(bytes, static_cast<std::uint16_t>(attributes.mode));
    put<std::uint16_t>(bytes, 0);
    put(bytes, shape.data_bytes);
    put(bytes, in_union);
    put(bytes, static_cast<std::uint32_t>(index + 1));
    put(bytes, attributes.uid);
    put(bytes, attributes.gid);
    put(bytes, static_cast<std::uint64_t>(attributes.mtime.seconds));
    put(bytes, attributes.mtime.nanoseconds);
    put(bytes, order_.links[static_cast<std::size_t>(inode)]);
    bytes.resize(start + kInodeBytes + (xattrs.empty() ? 0 : kXattrHeaderBytes));
    TRY(out.append(xattrs));
    TRY(out.pad_to(place.behind_xattrs));
    if (place.layout == kLayoutChunked) return append_indexes(out, pieces_of(shape.data_bytes), cursors);
    if (place.layout == kLayoutInline)
        return out.append(std::string_view{data_of(inode)}.substr(place.data_blocks * kBlockBytes));
    return {};
}

Result<> MetadataWriter::write(ByteSink& sink, const std::string* uuid) const
{
    ImageOutput out{sink, uuid != nullptr};
    append_superblock(out.buffer(), uuid);
    Cursors cursors{.data_block = first_data_block_};
    for (std::size_t i = 0; i < order_.inodes.size(); ++i)
        TRY(append_inode(out, i, cursors));
    TRY(out.pad_to(first_data_block_ * kBlockBytes));
    for (const InodeId inode : order_.inodes) {
        if (!tree_.is_directory(inode) && !tree_.is_link(inode)) continue;
        const InodePlace place = place_inode(shape_of(inode), start_of(inode));
        if (place.data_blocks == 0) continue;
        const std::string data = data_of(inode);
        TRY(out.append(std::string_view{data}.substr(0, place.data_blocks * kBlockBytes)));
        TRY(out.pad_to(round_up(out.position(), kBlockBytes)));
    }
    COPPICE_CHECK(out.position() == blocks_ * kBlockBytes);
    return out.flush();
}

} // namespace

Result<std::uint64_t> write_metadata(const Tree& tree, const LayerOrder& order, const BlobWriter& blob, ByteSink& sink)
{
    MetadataWriter writer{tree, order, blob};
    const std::uint64_t bytes = TRY(writer.lay_out());
    HashSink hash;
    TRY(writer.write(hash, nullptr));
    const std::string uuid = hash.uuid();
    TRY(writer.write(sink, &uuid));
    return bytes;
}

} // namespace coppice::vdisk
