#include "coppice/vdisk/layer_reader.h"

#include "coppice/base/text.h"
#include "coppice/os/mount.h"
#include "layer_layout.h"

#include <algorithm>
#include <cstring>
#include <sys/stat.h>

namespace coppice::vdisk {

namespace {

constexpr std::uint64_t kWindowBytes = 64U << 10;
constexpr std::size_t kWindows = 16;

std::unexpected<Error> damaged(std::string_view what)
{
    return fail(ErrorKind::Corrupt, cat("damaged layer metadata: ", what));
}
std::unexpected<Error> damaged(std::string_view what, Nid nid)
{
    return damaged(cat(what, " of inode ", static_cast<std::uint64_t>(nid)));
}

bool is_zero(std::string_view bytes) { return bytes.find_first_not_of('\0') == std::string_view::npos; }

bool is_name(std::string_view name)
{
    return !name.empty() && name.size() <= 255 && name.find('/') == std::string_view::npos &&
           name.find('\0') == std::string_view::npos;
}

/// Where each name of a directory block begins, and the end of the last one; empty for a damaged block.
/// @param last the directory's last block, which ends where its last name ends
std::vector<std::size_t> name_bounds(std::string_view block, bool last)
{
    if (block.size() < kDirentBytes) return {};
    const std::size_t names = get<std::uint16_t>(block, 8);
    if (names < kDirentBytes || names % kDirentBytes != 0 || names >= block.size()) return {};
    std::vector<std::size_t> bounds;
    for (std::size_t at = 0; at < names; at += kDirentBytes) {
        bounds.push_back(get<std::uint16_t>(block, at + 8));
        if (bounds.back() >= block.size() || (bounds.size() > 1 && bounds.back() <= bounds[bounds.size() - 2]))
            return {};
    }
    auto end = block.find('\0', bounds.back());
    if (end == std::string_view::npos) end = block.size();
    if (!is_zero(block.substr(end)) || (last && end != block.size())) return {};
    bounds.push_back(end);
    return bounds;
}

} // namespace

Result<> LayerReader::read(std::uint64_t offset, std::span<char> out)
{
    if (offset > bytes_ || out.size() > bytes_ - offset) return damaged("something ends beyond its end");
    while (!out.empty()) {
        const std::uint64_t number = offset / kWindowBytes, within = offset % kWindowBytes;
        Window& window = windows_[number % windows_.size()];
        if (window.number != number) {
            window.number = UINT64_MAX;
            window.bytes.resize(std::min(kWindowBytes, bytes_ - number * kWindowBytes));
            TRY_DOING("layer metadata", metadata_->read(number * kWindowBytes, window.bytes));
            window.number = number;
        }
        const auto part = std::min<std::uint64_t>(out.size(), window.bytes.size() - within);
        std::memcpy(out.data(), window.bytes.data() + within, part);
        out = out.subspan(part);
        offset += part;
    }
    return {};
}

Result<std::string> LayerReader::read(std::uint64_t offset, std::uint64_t bytes)
{
    if (offset > bytes_ || bytes > bytes_ - offset) return damaged("something ends beyond its end");
    std::string content(bytes, '\0');
    TRY(read(offset, content));
    return content;
}

Result<LayerReader> LayerReader::open(std::shared_ptr<const OpenContent> metadata, std::uint64_t bytes)
{
    LayerReader reader{std::move(metadata), bytes};
    reader.windows_.resize(kWindows);
    TRY(reader.read_superblock());
    return reader;
}

Result<LayerReader> LayerReader::open(os::Fd metadata)
{
    struct stat status{};
    if (::fstat(metadata.get(), &status) < 0) return fail_os(errno, "stat a layer's metadata");
    const auto bytes = static_cast<std::uint64_t>(status.st_size);
    return open(TRY(open_whole_file(std::move(metadata), bytes)), bytes);
}

Result<> LayerReader::read_superblock()
{
    if (bytes_ < kBlockBytes || bytes_ % kBlockBytes != 0 || bytes_ / kBlockBytes > kMostBlocks)
        return damaged("cut short");
    const std::string block = TRY(read(0, kBlockBytes));
    std::string summed = block;
    set_checksum(summed);
    if (summed != block) return damaged("wrong checksum");

    const auto super = std::string_view{block}.substr(kSuperblockOffset, kSuperblockBytes);
    const auto slot = std::string_view{block}.substr(kDeviceSlotOffset, kDeviceSlotBytes);
    blob_blocks_ = get<std::uint32_t>(slot, kSlotBlocks);
    inodes_ = get<std::uint64_t>(super, superblock::kInodes);
    const bool device = blob_blocks_ > 0;
    const std::uint64_t blocks = bytes_ / kBlockBytes;
    if (blocks + blob_blocks_ > kMostBlocks || inodes_ > kMostInodes) return damaged("impossible size");

    // All that is free is known now: everything else has just one form.
    std::string wanted(kInodesOffset, '\0');
    char* const at = wanted.data() + kSuperblockOffset;
    put_at(at + superblock::kMagic, static_cast<std::uint32_t>(os::kErofsMagic));
    put_at(at + superblock::kChecksum, get<std::uint32_t>(super, superblock::kChecksum));
    put_at(at + superblock::kFeatureCompat, kFeatureCompat);
    put_at<std::uint8_t>(at + superblock::kBlockBits, 12);
    put_at<std::uint16_t>(at + superblock::kRootNid, kInodesOffset / kNidBytes);
    put_at(at + superblock::kInodes, inodes_);
    put_at(at + superblock::kBlocks, static_cast<std::uint32_t>(blocks));
    std::copy_n(super.data() + superblock::kUuid, kUuidBytes, at + superblock::kUuid);
    put_at(at + superblock::kFeatureIncompat, kFeatureChunked | (device ? kFeatureDeviceTable : 0));
    put_at<std::uint16_t>(at + superblock::kExtraDevices, device ? 1 : 0);
    put_at<std::uint16_t>(at + superblock::kDeviceSlot, device ? kDeviceSlotOffset / kDeviceSlotBytes : 0);
    put_at(wanted.data() + kDeviceSlotOffset + kSlotBlocks, static_cast<std::uint32_t>(blob_blocks_));
    put_at(wanted.data() + kDeviceSlotOffset + kSlotMapped, static_cast<std::uint32_t>(device ? blocks : 0));
    if (!block.starts_with(wanted)) return damaged("superblock");
    return {};
}

Result<LayerInode> LayerReader::inode(Nid nid)
{
    const auto number = static_cast<std::uint64_t>(nid);
    if (number < kInodesOffset / kNidBytes || number > bytes_ / kNidBytes) return damaged("place", nid);
    const std::string raw = TRY(read(number * kNidBytes, kInodeBytes));
    const std::string_view bytes{raw};
    const std::uint32_t mode = get<std::uint16_t>(bytes, inode::kMode);
    const std::uint64_t xattr_count = get<std::uint16_t>(bytes, inode::kXattrCount);
    LayerInode found{
        .nid = nid,
        .ordinal = get<std::uint32_t>(bytes, inode::kIno) - 1,
        .attributes = {.mode = mode,
                       .uid = get<std::uint32_t>(bytes, inode::kUid),
                       .gid = get<std::uint32_t>(bytes, inode::kGid),
                       .mtime = {.seconds = static_cast<std::int64_t>(get<std::uint64_t>(bytes, inode::kMtime)),
                                 .nanoseconds = get<std::uint32_t>(bytes, inode::kMtimeNsec)}},
        .links = get<std::uint32_t>(bytes, inode::kNlink),
        .size = get<std::uint64_t>(bytes, inode::kSize),
        .device = {},
        .xattr_bytes = xattr_count == 0 ? 0 : 4 * (xattr_count - 1)};
    const auto in_union = get<std::uint32_t>(bytes, inode::kUnion);
    const bool file = S_ISREG(mode), directory = S_ISDIR(mode), link = S_ISLNK(mode);
    const bool device = S_ISCHR(mode) || S_ISBLK(mode);
    if (file_type_of(mode) == 0 || xattr_count == 1) return damaged("kind", nid);
    if (file ? found.size > kMostFileBytes
             : (directory ? found.size == 0 || found.size > bytes_
                          : (link ? found.size == 0 || found.size > kMostTargetBytes : found.size != 0)))
        return damaged("size", nid);

    const InodePlace place =
        place_inode({.mode = mode, .xattr_bytes = found.xattr_bytes, .data_bytes = found.size}, number * kNidBytes);
    found.layout = place.layout;
    found.behind_xattrs = place.behind_xattrs;
    found.end = place.end;
    found.data_blocks = place.data_blocks;
    if (place.start != number * kNidBytes || place.end > bytes_) return damaged("place", nid);
    if (get<std::uint16_t>(bytes, inode::kFormat) != 1 + 2 * place.layout || get<std::uint16_t>(bytes, 6) != 0 ||
        !is_zero(bytes.substr(48)))
        return damaged("form", nid);

    if (device) found.device = decode_device(in_union);
    if (directory || link) found.first_data_block = in_union;
    const std::uint32_t wanted = file ? kChunkFormat : (device ? encode_device(found.device) : 0);
    if (place.data_blocks == 0 && in_union != wanted) return damaged("address", nid);
    const std::uint64_t blocks = bytes_ / kBlockBytes;
    if (place.data_blocks > 0 && (in_union >= blocks || place.data_blocks > blocks - in_union))
        return damaged("address", nid);
    return found;
}

Result<std::string> LayerReader::data_of(const LayerInode& inode)
{
    std::string data = TRY(read(inode.first_data_block * kBlockBytes, inode.data_blocks * kBlockBytes));
    if (inode.layout == kLayoutInline) return data + TRY(read(inode.behind_xattrs, inode.size % kBlockBytes));
    if (!is_zero(std::string_view{data}.substr(inode.size))) return damaged("padding", inode.nid);
    data.resize(inode.size);
    return data;
}

Result<std::vector<LayerReader::Entry>> LayerReader::entries(const LayerInode& directory)
{
    COPPICE_CHECK(S_ISDIR(directory.attributes.mode));
    const std::string data = TRY(data_of(directory));
    std::vector<Entry> found;
    DirectorySize size;
    for (std::size_t start = 0; start < data.size(); start += kBlockBytes) {
        const auto block = std::string_view{data}.substr(start, kBlockBytes);
        const auto bounds = name_bounds(block, start + block.size() == data.size());
        if (bounds.empty()) return damaged("directory", directory.nid);
        for (std::size_t i = 0; i + 1 < bounds.size(); ++i) {
            const std::size_t at = i * kDirentBytes;
            const auto name = block.substr(bounds[i], bounds[i + 1] - bounds[i]);
            if (!is_name(name) || block[at + 11] != '\0' || (!found.empty() && name <= found.back().name))
                return damaged("names", directory.nid);
            const bool begins_block = size.add(name.size());
            if (begins_block != (i == 0 && start > 0)) return damaged("directory", directory.nid);
            found.push_back({.name = std::string{name},
                             .nid = Nid{get<std::uint64_t>(block, at)},
                             .type = get<std::uint8_t>(block, at + 10)});
        }
    }
    if (size.bytes() != directory.size) return damaged("directory", directory.nid);
    return found;
}

Result<std::string> LayerReader::target(const LayerInode& link)
{
    COPPICE_CHECK(S_ISLNK(link.attributes.mode));
    std::string text = TRY(data_of(link));
    if (text.find('\0') != std::string::npos) return damaged("target", link.nid);
    return text;
}

Result<std::vector<Xattr>> LayerReader::xattrs(const LayerInode& inode)
{
    if (inode.xattr_bytes == 0) return std::vector<Xattr>{};
    const std::string area =
        TRY(read(static_cast<std::uint64_t>(inode.nid) * kNidBytes + kInodeBytes, xattr_area_bytes(inode.xattr_bytes)));
    if (!is_zero(std::string_view{area}.substr(0, kXattrHeaderBytes))) return damaged("attributes", inode.nid);
    auto found = TRY(decode_xattrs(std::string_view{area}.substr(kXattrHeaderBytes)));
    for (const Xattr& xattr : found)
        if (!may_be_in_layer(xattr, inode.attributes.mode)) return damaged("attributes", inode.nid);
    return found;
}

Result<> LayerReader::extents(const LayerInode& file, const std::function<Result<>(const Extent&)>& take)
{
    COPPICE_CHECK(S_ISREG(file.attributes.mode));
    std::string index(kIndexBytes, '\0');
    for (std::uint64_t offset = 0; offset < file.size; offset += kPieceBytes) {
        TRY(read(file.behind_xattrs + offset / kPieceBytes * kIndexBytes, index));
        const auto device = get<std::uint16_t>(index, 2);
        const auto block = get<std::uint32_t>(index, 4);
        Extent extent{.offset = offset, .bytes = std::min(kPieceBytes, file.size - offset), .blob_offset = {}};
        const std::uint64_t blocks = round_up(extent.bytes, kBlockBytes) / kBlockBytes;
        const bool hole = block == kHole;
        if (get<std::uint16_t>(index, 0) != 0 || device != (hole ? 0 : 1) ||
            (!hole && (block >= blob_blocks_ || blocks > blob_blocks_ - block)))
            return damaged("address", file.nid);
        if (!hole) extent.blob_offset = block * kBlockBytes;
        TRY(take(extent));
    }
    return {};
}

Result<std::optional<Nid>> LayerReader::find(std::string_view path)
{
    Nid at = root();
    while (!path.empty()) {
        const auto slash = path.find('/');
        const auto name = path.substr(0, slash);
        path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
        if (name.empty()) continue;
        const auto directory = TRY(inode(at));
        if (!S_ISDIR(directory.attributes.mode)) return std::optional<Nid>{};
        const auto all = TRY(entries(directory));
        const auto found = std::lower_bound(all.begin(), all.end(), name,
                                            [](const Entry& a, std::string_view b) { return a.name < b; });
        if (found == all.end() || found->name != name) return std::optional<Nid>{};
        at = found->nid;
    }
    return std::optional<Nid>{at};
}

Result<> LayerReader::check()
{
    return walk([](const Step&) { return Result<>{}; });
}

} // namespace coppice::vdisk
