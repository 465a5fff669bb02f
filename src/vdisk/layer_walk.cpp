#include "coppice/base/text.h"
#include "coppice/vdisk/layer_reader.h"
#include "layer_layout.h"
#include "uuid_hash.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <sys/stat.h>

namespace coppice::vdisk {

namespace {

std::unexpected<Error> damaged(std::string_view what, std::string_view name)
{
    return fail(ErrorKind::Corrupt, cat("damaged layer metadata: ", what, " of ", printable(name)));
}

} // namespace

/// Follows the entries and compares every inode's place with the one that the writer would have given it. So nothing
/// overlaps, no directory has two parents or is inside itself, and nothing is there that no entry leads to.
class LayerWalk {
public:
    LayerWalk(LayerReader& reader, const std::function<Result<>(const LayerReader::Step&)>& step)
        : reader_{reader}, step_{step}, seen_(reader.bytes_ / kNidBytes)
    {
    }

    Result<> run()
    {
        const auto root = TRY(reader_.inode(LayerReader::root()));
        if (!S_ISDIR(root.attributes.mode)) return damaged("kind", "/");
        TRY(take_new(root, 0, ""));
        waiting_.push_back({.directory = root.nid, .parent = root.nid, .depth = 0});
        while (!waiting_.empty()) {
            const Waiting next = waiting_.back();
            waiting_.pop_back();
            TRY(visit(next));
        }
        return check_whole();
    }

private:
    struct Waiting {
        Nid directory, parent;
        std::uint32_t depth;
    };
    struct Links {
        std::uint32_t wanted, found;
    };

    Result<> take_new(const LayerInode& inode, std::uint32_t directory, std::string_view name);
    Result<> take_again(const LayerInode& inode, std::uint32_t directory, std::string_view name);
    Result<> check_kind(const LayerInode& inode, std::string_view name);
    Result<> visit(const Waiting& at);
    Result<> check_whole();
    Result<> check_zero(std::uint64_t from, std::uint64_t to, std::string_view name);

    LayerReader& reader_;
    const std::function<Result<>(const LayerReader::Step&)>& step_;
    std::vector<bool> seen_; ///< by nid
    std::vector<Waiting> waiting_;
    std::map<Nid, Links> links_; ///< of inodes with several names
    std::uint64_t end_ = kInodesOffset;
    std::uint32_t count_ = 0;
    std::uint64_t data_blocks_ = 0, file_bytes_ = 0;
    std::optional<std::uint64_t> data_start_;
};

Result<> LayerWalk::check_zero(std::uint64_t from, std::uint64_t to, std::string_view name)
{
    if (from > to || to - from >= 2 * kBlockBytes) return damaged("place", name);
    const std::string gap = TRY(reader_.read(from, to - from));
    if (gap.find_first_not_of('\0') != std::string::npos) return damaged("padding", name);
    return {};
}

Result<> LayerWalk::check_kind(const LayerInode& inode, std::string_view name)
{
    const auto& attributes = inode.attributes;
    if (attributes.mtime.nanoseconds >= 1'000'000'000 || attributes.uid == UINT32_MAX || attributes.gid == UINT32_MAX)
        return damaged("attributes", name);
    TRY(reader_.xattrs(inode));
    if (S_ISLNK(attributes.mode)) TRY(reader_.target(inode));
    if (S_ISREG(attributes.mode)) {
        TRY(reader_.extents(inode, [](const Extent&) { return Result<>{}; }));
        if (inode.size > kMostFileBytes - file_bytes_) return damaged("size", name);
        file_bytes_ += inode.size;
        TRY(check_zero(static_cast<std::uint64_t>(inode.nid) * kNidBytes + kInodeBytes +
                           xattr_area_bytes(inode.xattr_bytes),
                       inode.behind_xattrs, name));
    }
    const bool whiteout = S_ISCHR(attributes.mode) && inode.device == DeviceNumber{};
    if (whiteout && (attributes != Attributes{.mode = S_IFCHR, .uid = 0, .gid = 0, .mtime = {}} ||
                     inode.xattr_bytes != 0 || inode.links != 1))
        return damaged("whiteout", name);
    if (inode.data_blocks == 0) return {};
    if (!data_start_ && inode.first_data_block >= data_blocks_) data_start_ = inode.first_data_block - data_blocks_;
    if (!data_start_ || inode.first_data_block != *data_start_ + data_blocks_) return damaged("address", name);
    data_blocks_ += inode.data_blocks;
    return {};
}

Result<> LayerWalk::take_new(const LayerInode& inode, std::uint32_t directory, std::string_view name)
{
    const std::uint64_t start = static_cast<std::uint64_t>(inode.nid) * kNidBytes;
    const auto place =
        place_inode({.mode = inode.attributes.mode, .xattr_bytes = inode.xattr_bytes, .data_bytes = inode.size}, end_);
    if (place.start != start || inode.ordinal != count_ || count_ >= reader_.inodes_) return damaged("place", name);
    TRY(check_zero(end_, start, name));
    seen_[static_cast<std::size_t>(inode.nid)] = true;
    end_ = inode.end;
    ++count_;
    TRY(check_kind(inode, name));
    if (!S_ISDIR(inode.attributes.mode)) {
        if (inode.links == 0) return damaged("link count", name);
        if (inode.links > 1) links_.emplace(inode.nid, Links{.wanted = inode.links, .found = 1});
    }
    return step_({.directory = directory, .name = name, .inode = inode, .first = true});
}

Result<> LayerWalk::take_again(const LayerInode& inode, std::uint32_t directory, std::string_view name)
{
    const auto links = links_.find(inode.nid); // no directory is in there
    if (links == links_.end() || links->second.found >= links->second.wanted) return damaged("link count", name);
    ++links->second.found;
    return step_({.directory = directory, .name = name, .inode = inode, .first = false});
}

Result<> LayerWalk::visit(const Waiting& at)
{
    const auto directory = TRY(reader_.inode(at.directory));
    const std::size_t above = waiting_.size();
    int dots = 0;
    for (const auto& entry : TRY(reader_.entries(directory))) {
        if (entry.name == "." || entry.name == "..") {
            const Nid wanted = entry.name == "." ? at.directory : at.parent;
            if (entry.nid != wanted || entry.type != file_type_of(S_IFDIR)) return damaged("place", entry.name);
            ++dots;
            continue;
        }
        const auto inode = TRY(reader_.inode(entry.nid));
        if (entry.type != file_type_of(inode.attributes.mode)) return damaged("kind", entry.name);
        if (seen_[static_cast<std::size_t>(entry.nid)]) {
            TRY(take_again(inode, directory.ordinal, entry.name));
            continue;
        }
        TRY(take_new(inode, directory.ordinal, entry.name));
        if (S_ISDIR(inode.attributes.mode))
            waiting_.push_back({.directory = entry.nid, .parent = at.directory, .depth = at.depth + 1});
    }
    const std::size_t subdirectories = waiting_.size() - above;
    if (dots != 2 || directory.links != 2 + subdirectories)
        return damaged("link count", cat("inode ", static_cast<std::uint64_t>(at.directory)));
    if (subdirectories > 0 && at.depth >= kMostDepth) return damaged("depth", "a directory");
    std::reverse(waiting_.begin() + static_cast<std::ptrdiff_t>(above), waiting_.end());
    return {};
}

Result<> LayerWalk::check_whole()
{
    const std::string_view whole = "the whole";
    for (const auto& [nid, links] : links_)
        if (links.found != links.wanted) return damaged("link count", cat("inode ", static_cast<std::uint64_t>(nid)));
    const std::uint64_t data = data_start(end_);
    if (count_ != reader_.inodes_ || (data_start_ && *data_start_ * kBlockBytes != data) ||
        data + data_blocks_ * kBlockBytes != reader_.bytes_)
        return damaged("size", whole);
    TRY(check_zero(end_, data, whole));

    UuidHash hash;
    std::string uuid;
    for (std::uint64_t at = 0; at < reader_.bytes_;) {
        std::string part = TRY(reader_.read(at, std::min<std::uint64_t>(reader_.bytes_ - at, 64U << 10)));
        if (at == 0) {
            char* const super = part.data() + kSuperblockOffset;
            uuid.assign(super + superblock::kUuid, kUuidBytes);
            std::memset(super + superblock::kUuid, 0, kUuidBytes);
            std::memset(super + superblock::kChecksum, 0, sizeof(std::uint32_t));
        }
        hash.add(part);
        at += part.size();
    }
    if (hash.uuid() != uuid) return damaged("uuid", whole);
    return {};
}

Result<> LayerReader::walk(const std::function<Result<>(const Step&)>& step) { return LayerWalk{*this, step}.run(); }

} // namespace coppice::vdisk
