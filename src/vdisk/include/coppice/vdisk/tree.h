#pragma once

#include "coppice/vdisk/arena.h"
#include "coppice/vdisk/content.h"
#include "coppice/vdisk/xattr.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace coppice::vdisk {

enum class InodeId : std::uint32_t {};

struct DeviceNumber {
    std::uint32_t major = 0, minor = 0; ///< below 2^12 and 2^20
    bool operator==(const DeviceNumber&) const = default;
};

struct FileTime {
    std::int64_t seconds = 0;
    std::uint32_t nanoseconds = 0; ///< below 10^9
    bool operator==(const FileTime&) const = default;
};

/// What every inode has.
struct Attributes {
    std::uint32_t mode = 0; ///< as st_mode: type and 12 bits
    std::uint32_t uid = 0, gid = 0;
    FileTime mtime;
    bool operator==(const Attributes&) const = default;
};

/// A file tree in memory, without the content of its files: what importers make and the layer writer writes.
///
/// Compact: about 90 bytes and the name per file, names and sets of extended attributes kept once. Inodes exist apart
/// from their names; what no name leads to from the root is not part of the tree. One thread; const methods: any.
class Tree {
public:
    Tree(); ///< a root directory: mode 0755, owner 0:0, time 0

    [[nodiscard]] static InodeId root() { return InodeId{0}; }

    /// Makes an inode without a name. A file is empty, a link has no target yet.
    /// Errors: Invalid (impossible type, time or owner), Unavailable (too many)
    Result<InodeId> add(const Attributes& attributes, DeviceNumber device = {});
    /// A character device 0/0, which has one form and one name only; see docs/format/layer.md. `add` gives it, too.
    Result<InodeId> add_whiteout();

    Result<> set_attributes(InodeId inode, const Attributes& attributes); ///< Errors: Invalid (another type, too)
    Result<> set_xattrs(InodeId inode, std::vector<Xattr> xattrs);        ///< Errors: as encode_xattrs; Invalid
    Result<> set_target(InodeId link, std::string_view target);           ///< Errors: Invalid (empty, too long, NUL)
    /// @param source kept by the tree as long as it lives; one source may serve many files
    void set_content(InodeId file, std::shared_ptr<const ContentSource> source, std::uint64_t key, std::uint64_t bytes);

    /// Gives an inode a name; further names of one that is no directory are hard links.
    /// Errors: Invalid (impossible name, or `directory` is none), Conflict (name taken, or a directory with two names)
    Result<> link(InodeId directory, std::string_view name, InodeId inode);
    /// Takes a name away; false if there is none.
    bool unlink(InodeId directory, std::string_view name);
    /// Puts each directory's entries into byte order of the names.
    void sort();

    struct Entry {
        std::string_view name;
        InodeId inode;
    };
    /// In the order of `sort`, or else in none.
    [[nodiscard]] std::vector<Entry> entries(InodeId directory) const;
    [[nodiscard]] std::optional<InodeId> find(InodeId directory, std::string_view name) const;
    /// By a path from the root, "/" between names; links are not followed. "" is the root.
    [[nodiscard]] std::optional<InodeId> find_path(std::string_view path) const;
    /// A path that leads to the inode, for messages. Slow: searches the whole tree.
    [[nodiscard]] std::string path_of(InodeId inode) const;

    [[nodiscard]] std::size_t inode_count() const { return inodes_.size(); } ///< ids are below; also unreachable ones
    /// Memory for names, targets and attributes, each counted once.
    [[nodiscard]] std::size_t text_bytes() const { return strings_.bytes(); }
    [[nodiscard]] Attributes attributes(InodeId inode) const;
    [[nodiscard]] std::uint32_t mode(InodeId inode) const { return record(inode).mode; }
    [[nodiscard]] bool is_directory(InodeId inode) const;
    [[nodiscard]] bool is_file(InodeId inode) const;
    [[nodiscard]] bool is_link(InodeId inode) const;
    [[nodiscard]] bool is_whiteout(InodeId inode) const;
    [[nodiscard]] DeviceNumber device(InodeId inode) const;
    [[nodiscard]] std::uint64_t size(InodeId file) const { return record(file).size; }
    [[nodiscard]] std::string_view target(InodeId link) const;
    [[nodiscard]] InodeId parent(InodeId directory) const; ///< the root's is itself
    [[nodiscard]] std::vector<Xattr> xattrs(InodeId inode) const;
    [[nodiscard]] std::string_view encoded_xattrs(InodeId inode) const { return strings_.get(record(inode).xattrs); }
    /// Errors: as ContentSource::open. An empty file needs no source.
    [[nodiscard]] Result<std::unique_ptr<OpenContent>> open_content(InodeId file) const;

private:
    struct Record {
        std::uint64_t size;
        std::int64_t mtime_seconds;
        std::uint64_t content; ///< file: key; directory: its first entry; link: its target; device: numbers
        std::uint32_t owner;   ///< file: source; directory, whiteout: its parent
        std::uint32_t mtime_nanoseconds;
        std::uint32_t uid, gid;
        StringPool::Id xattrs;
        std::uint32_t mode;
    };
    struct Name {
        StringPool::Id text;
        std::uint32_t inode, directory;
        std::uint32_t next; ///< in the same directory
    };
    Record& record(InodeId id) { return inodes_[static_cast<std::size_t>(id)]; }
    [[nodiscard]] const Record& record(InodeId id) const { return inodes_[static_cast<std::size_t>(id)]; }
    [[nodiscard]] std::size_t find_slot(InodeId directory, std::string_view name) const;
    void grow_slots();

    StringPool strings_;
    Chunked<Record> inodes_;
    Chunked<Name> names_;
    std::vector<std::uint32_t> slots_; ///< names by directory and text: open addressing
    std::size_t filled_ = 0;
    std::vector<std::shared_ptr<const ContentSource>> sources_;
};

} // namespace coppice::vdisk
