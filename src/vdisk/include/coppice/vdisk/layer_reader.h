#pragma once

#include "coppice/vdisk/layer_writer.h"
#include "coppice/vdisk/tree.h"

#include <functional>

namespace coppice::vdisk {

enum class Nid : std::uint64_t {}; ///< an inode's number in a layer

struct LayerInode {
    Nid nid{};
    std::uint32_t ordinal = 0; ///< place in walk order, the root being 0
    Attributes attributes;
    std::uint32_t links = 0;
    std::uint64_t size = 0; ///< file, link target: bytes; directory: of its blocks
    DeviceNumber device;
    std::uint64_t xattr_bytes = 0; ///< where things are, see docs/format/layer.md
    std::uint64_t layout = 0, behind_xattrs = 0, end = 0, first_data_block = 0, data_blocks = 0;
};

/// Part of a file: content in the blob, or a hole.
struct Extent {
    std::uint64_t offset = 0, bytes = 0; ///< in the file
    std::optional<std::uint64_t> blob_offset;
    bool operator==(const Extent&) const = default;
};

/// Reads a layer's metadata. It may be hostile: whatever it says, nothing outside of it is read, no more memory is
/// taken than it is long, and every call ends. All errors of content are Corrupt. One thread at a time. Source:
/// docs/format/layer.md
class LayerReader {
public:
    /// Checks the superblock.
    static Result<LayerReader> open(std::shared_ptr<const OpenContent> metadata, std::uint64_t bytes);
    static Result<LayerReader> open(os::Fd metadata);

    [[nodiscard]] std::uint64_t metadata_bytes() const { return bytes_; }
    [[nodiscard]] std::uint64_t blob_bytes() const { return blob_blocks_ * 4096; }
    [[nodiscard]] std::uint64_t inodes() const { return inodes_; }

    struct Entry {
        std::string name;
        Nid nid{};
        std::uint8_t type = 0;
    };
    [[nodiscard]] static Nid root() { return Nid{40}; }
    Result<LayerInode> inode(Nid nid);
    /// In byte order of the names, "." and ".." included.
    Result<std::vector<Entry>> entries(const LayerInode& directory);
    Result<std::string> target(const LayerInode& link);
    Result<std::vector<Xattr>> xattrs(const LayerInode& inode);
    /// Hands over the parts of a file, at most 256 KiB each, in order and without gaps.
    Result<> extents(const LayerInode& file, const std::function<Result<>(const Extent&)>& take);
    /// By a path from the root, "/" between names; links are not followed. "" is the root.
    Result<std::optional<Nid>> find(std::string_view path);

    struct Step {
        std::uint32_t directory; ///< its ordinal
        std::string_view name;   ///< empty for the root
        const LayerInode& inode;
        bool first; ///< false: a further name of one that came already
    };
    /// Goes through the whole tree in walk order. Succeeds only if the metadata is, byte by byte, what the writer gives
    /// for this tree and these places in the blob; `step` has seen parts of a bad one, then.
    /// (Whether the blob holds what it should is for its hashes to say.)
    Result<> walk(const std::function<Result<>(const Step&)>& step);
    Result<> check();

    /// Writes the flat variant: with the blob behind it, one block device. Needs checked metadata, is safe without.
    Result<> write_flat(ByteSink& out);

private:
    friend class LayerWalk;
    LayerReader(std::shared_ptr<const OpenContent> metadata, std::uint64_t bytes)
        : metadata_{std::move(metadata)}, bytes_{bytes}
    {
    }
    Result<> read(std::uint64_t offset, std::span<char> out);
    Result<std::string> read(std::uint64_t offset, std::uint64_t bytes);
    Result<> read_superblock();
    Result<std::string> data_of(const LayerInode& inode);

    std::shared_ptr<const OpenContent> metadata_;
    std::uint64_t bytes_;
    std::uint64_t blob_blocks_ = 0, inodes_ = 0;
    struct Window { ///< part of the metadata in memory
        std::uint64_t number = UINT64_MAX;
        std::string bytes;
    };
    std::vector<Window> windows_;
};

/// A layer as a tree; its files' content is read from `blob` when it is wanted. Checks the metadata.
Result<Tree> read_layer(std::shared_ptr<const OpenContent> metadata, std::uint64_t bytes,
                        std::shared_ptr<const OpenContent> blob);

} // namespace coppice::vdisk
