#include "coppice/vdisk/tree.h"

#include "coppice/base/text.h"
#include "erofs_format.h"

#include <algorithm>
#include <sys/stat.h>
#include <xxhash.h>

namespace coppice::vdisk {

namespace {

constexpr std::uint32_t kNone = 0xFFFFFFFF;    // of inodes, names and slots
constexpr std::uint32_t kDeleted = 0xFFFFFFFE; // a slot that was in use: a search goes on behind it
constexpr std::uint32_t kNoOwner = 0xFFFFFFFF;
constexpr std::uint32_t kUnknownId = 0xFFFFFFFF;
constexpr Attributes kWhiteout{.mode = S_IFCHR, .uid = 0, .gid = 0, .mtime = {}};

std::uint64_t hash(InodeId directory, std::string_view name)
{
    return XXH3_64bits_withSeed(name.data(), name.size(), static_cast<std::uint64_t>(directory));
}

Result<> check(const Attributes& attributes)
{
    if (file_type_of(attributes.mode) == 0 || (attributes.mode & ~(S_IFMT | 07777U)) != 0)
        return fail(ErrorKind::Invalid, cat("no file has the mode ", attributes.mode));
    if (attributes.mtime.nanoseconds >= 1'000'000'000) return fail(ErrorKind::Invalid, "an impossible time");
    if (attributes.uid == kUnknownId || attributes.gid == kUnknownId)
        return fail(ErrorKind::Invalid, "an impossible owner");
    return {};
}

Result<> check_name(std::string_view name)
{
    if (name.empty() || name == "." || name == ".." || name.find('/') != std::string_view::npos ||
        name.find('\0') != std::string_view::npos)
        return fail(ErrorKind::Invalid, cat("'", printable(name), "' cannot be a file's name"));
    if (name.size() > 255) return fail(ErrorKind::Invalid, cat("a name of ", name.size(), " bytes"));
    return {};
}

} // namespace

Tree::Tree()
{
    inodes_.push_back(Record{.size = 0,
                             .mtime_seconds = 0,
                             .content = kNone,
                             .owner = 0,
                             .mtime_nanoseconds = 0,
                             .uid = 0,
                             .gid = 0,
                             .xattrs = 0,
                             .mode = S_IFDIR | 0755});
}

Result<InodeId> Tree::add(const Attributes& attributes, DeviceNumber device)
{
    TRY(check(attributes));
    if (inodes_.size() >= kMostInodes)
        return fail(ErrorKind::Unavailable, cat("more than ", kMostInodes, " files in one tree"));
    if (device.major >= 1U << 12U || device.minor >= 1U << 20U)
        return fail(ErrorKind::Invalid, cat("no device has the numbers ", device.major, ":", device.minor));
    const bool directory = S_ISDIR(attributes.mode), special = S_ISCHR(attributes.mode) || S_ISBLK(attributes.mode);
    const bool whiteout = S_ISCHR(attributes.mode) && device == DeviceNumber{};
    const Attributes& taken = whiteout ? kWhiteout : attributes;
    inodes_.push_back(Record{.size = 0,
                             .mtime_seconds = taken.mtime.seconds,
                             .content = directory ? kNone : (special ? encode_device(device) : 0),
                             .owner = kNoOwner,
                             .mtime_nanoseconds = taken.mtime.nanoseconds,
                             .uid = taken.uid,
                             .gid = taken.gid,
                             .xattrs = 0,
                             .mode = taken.mode});
    return InodeId{static_cast<std::uint32_t>(inodes_.size() - 1)};
}

Result<InodeId> Tree::add_whiteout() { return add(kWhiteout); }

Result<> Tree::set_attributes(InodeId inode, const Attributes& attributes)
{
    TRY(check(attributes));
    if (is_whiteout(inode)) return fail(ErrorKind::Invalid, "a whiteout has no attributes");
    Record& changed = record(inode);
    if ((changed.mode & S_IFMT) != (attributes.mode & S_IFMT))
        return fail(ErrorKind::Invalid, "a file's type cannot change");
    changed.mode = attributes.mode;
    changed.uid = attributes.uid;
    changed.gid = attributes.gid;
    changed.mtime_seconds = attributes.mtime.seconds;
    changed.mtime_nanoseconds = attributes.mtime.nanoseconds;
    return {};
}

Result<> Tree::set_xattrs(InodeId inode, std::vector<Xattr> xattrs)
{
    for (const Xattr& xattr : xattrs) {
        if (is_whiteout(inode)) return fail(ErrorKind::Invalid, "a whiteout has no attributes");
        if (!may_be_in_layer(xattr, mode(inode)))
            return fail(ErrorKind::Invalid, cat("no layer has the extended attribute ", printable(xattr.name)));
    }
    const std::string encoded = TRY(encode_xattrs(std::move(xattrs)));
    record(inode).xattrs = TRY(strings_.intern(encoded));
    return {};
}

Result<> Tree::set_target(InodeId link, std::string_view target)
{
    COPPICE_CHECK(is_link(link));
    if (target.empty() || target.size() > kMostTargetBytes || target.find('\0') != std::string_view::npos)
        return fail(ErrorKind::Invalid, cat("a symbolic link's target of ", target.size(), " bytes"));
    record(link).content = TRY(strings_.intern(target));
    record(link).size = target.size();
    return {};
}

void Tree::set_content(InodeId file, std::shared_ptr<const ContentSource> source, std::uint64_t key,
                       std::uint64_t bytes)
{
    COPPICE_CHECK(is_file(file));
    auto known = sources_.end();
    if (!sources_.empty() && sources_.back() == source)
        --known; // nearly always
    else
        known = std::find(sources_.begin(), sources_.end(), source);
    const auto index = known - sources_.begin();
    if (known == sources_.end()) sources_.push_back(std::move(source));
    Record& changed = record(file);
    changed.owner = static_cast<std::uint32_t>(index);
    changed.content = key;
    changed.size = bytes;
}

std::size_t Tree::find_slot(InodeId directory, std::string_view name) const
{
    if (slots_.empty()) return kNone;
    std::size_t slot = hash(directory, name) % slots_.size();
    for (; slots_[slot] != kNone; slot = (slot + 1) % slots_.size()) {
        if (slots_[slot] == kDeleted) continue;
        const Name& found = names_[slots_[slot]];
        if (found.directory == static_cast<std::uint32_t>(directory) && strings_.get(found.text) == name) return slot;
    }
    return kNone;
}

void Tree::grow_slots()
{
    std::size_t living = 0;
    for (const std::uint32_t slot : slots_)
        living += slot < kDeleted ? 1 : 0;
    const auto old = std::exchange(slots_, std::vector<std::uint32_t>(std::max<std::size_t>(64, living * 3), kNone));
    filled_ = living;
    for (const std::uint32_t index : old) {
        if (index >= kDeleted) continue;
        const Name& name = names_[index];
        std::size_t slot = hash(InodeId{name.directory}, strings_.get(name.text)) % slots_.size();
        while (slots_[slot] != kNone)
            slot = (slot + 1) % slots_.size();
        slots_[slot] = index;
    }
}

Result<> Tree::link(InodeId directory, std::string_view name, InodeId inode)
{
    TRY(check_name(name));
    if (!is_directory(directory)) return fail(ErrorKind::Invalid, cat(printable(name), " is put into a file"));
    if (find_slot(directory, name) != kNone) return fail(ErrorKind::Conflict, cat("twice the name ", printable(name)));
    if (names_.size() >= kMostInodes)
        return fail(ErrorKind::Unavailable, cat("more than ", kMostInodes, " names in one tree"));
    const bool single = is_directory(inode) || is_whiteout(inode);
    if (single && record(inode).owner != kNoOwner)
        return fail(ErrorKind::Conflict, cat(printable(name), " has another name already, and can have one only"));
    if ((filled_ + 1) * 4 >= slots_.size() * 3) grow_slots();

    const auto index = static_cast<std::uint32_t>(names_.size());
    names_.push_back({.text = TRY(strings_.intern(name)),
                      .inode = static_cast<std::uint32_t>(inode),
                      .directory = static_cast<std::uint32_t>(directory),
                      .next = static_cast<std::uint32_t>(record(directory).content)});
    record(directory).content = index;
    if (single) record(inode).owner = static_cast<std::uint32_t>(directory);
    std::size_t slot = hash(directory, name) % slots_.size();
    while (slots_[slot] < kDeleted)
        slot = (slot + 1) % slots_.size();
    if (slots_[slot] == kNone) ++filled_;
    slots_[slot] = index;
    return {};
}

bool Tree::unlink(InodeId directory, std::string_view name)
{
    const std::size_t slot = find_slot(directory, name);
    if (slot == kNone) return false;
    Name& removed = names_[std::exchange(slots_[slot], kDeleted)];
    if (!is_file(InodeId{removed.inode})) record(InodeId{removed.inode}).owner = kNoOwner;
    removed.inode = kNone; // stays in the directory's list until `sort`
    return true;
}

void Tree::sort()
{
    std::vector<std::uint32_t> order;
    for (std::size_t i = 0; i < inodes_.size(); ++i) {
        Record& directory = inodes_[i];
        if (!S_ISDIR(directory.mode)) continue;
        order.clear();
        bool sorted = true;
        for (auto at = static_cast<std::uint32_t>(directory.content); at != kNone; at = names_[at].next) {
            if (names_[at].inode == kNone) {
                sorted = false;
                continue;
            }
            if (!order.empty() && strings_.get(names_[order.back()].text) > strings_.get(names_[at].text))
                sorted = false;
            order.push_back(at);
        }
        if (sorted) continue;
        std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
            return strings_.get(names_[a].text) < strings_.get(names_[b].text);
        });
        directory.content = kNone;
        for (auto at = order.rbegin(); at != order.rend(); ++at)
            names_[*at].next = static_cast<std::uint32_t>(std::exchange(directory.content, *at));
    }
}

std::vector<Tree::Entry> Tree::entries(InodeId directory) const
{
    COPPICE_CHECK(is_directory(directory));
    std::vector<Entry> found;
    for (auto at = static_cast<std::uint32_t>(record(directory).content); at != kNone; at = names_[at].next)
        if (names_[at].inode != kNone) found.push_back({strings_.get(names_[at].text), InodeId{names_[at].inode}});
    return found;
}

std::optional<InodeId> Tree::find(InodeId directory, std::string_view name) const
{
    const std::size_t slot = find_slot(directory, name);
    if (slot == kNone) return {};
    return InodeId{names_[slots_[slot]].inode};
}

std::optional<InodeId> Tree::find_path(std::string_view path) const
{
    std::optional<InodeId> at = root();
    while (at && !path.empty()) {
        const auto slash = path.find('/');
        if (slash != 0) at = find(*at, path.substr(0, slash));
        path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
    }
    return at;
}

std::string Tree::path_of(InodeId inode) const
{
    std::string path;
    for (std::size_t depth = 0; inode != root() && depth <= kMostDepth; ++depth) {
        std::size_t index = 0;
        while (index < names_.size() && names_[index].inode != static_cast<std::uint32_t>(inode))
            ++index;
        if (index == names_.size()) return cat("(nameless)", path);
        path = cat('/', strings_.get(names_[index].text), path);
        inode = InodeId{names_[index].directory};
    }
    return path.empty() ? "/" : path;
}

Attributes Tree::attributes(InodeId inode) const
{
    const Record& found = record(inode);
    return {.mode = found.mode,
            .uid = found.uid,
            .gid = found.gid,
            .mtime = {.seconds = found.mtime_seconds, .nanoseconds = found.mtime_nanoseconds}};
}

bool Tree::is_directory(InodeId inode) const { return S_ISDIR(record(inode).mode); }
bool Tree::is_file(InodeId inode) const { return S_ISREG(record(inode).mode); }
bool Tree::is_link(InodeId inode) const { return S_ISLNK(record(inode).mode); }
bool Tree::is_whiteout(InodeId inode) const { return S_ISCHR(record(inode).mode) && device(inode) == DeviceNumber{}; }

DeviceNumber Tree::device(InodeId inode) const
{
    const Record& found = record(inode);
    return S_ISCHR(found.mode) || S_ISBLK(found.mode) ? decode_device(static_cast<std::uint32_t>(found.content))
                                                      : DeviceNumber{};
}

std::string_view Tree::target(InodeId link) const
{
    COPPICE_CHECK(is_link(link));
    return strings_.get(static_cast<StringPool::Id>(record(link).content));
}

InodeId Tree::parent(InodeId directory) const
{
    COPPICE_CHECK(is_directory(directory));
    return InodeId{record(directory).owner};
}

std::vector<Xattr> Tree::xattrs(InodeId inode) const
{
    auto decoded = decode_xattrs(encoded_xattrs(inode));
    COPPICE_CHECK(decoded.has_value());
    return *std::move(decoded);
}

Result<std::unique_ptr<OpenContent>> Tree::open_content(InodeId file) const
{
    COPPICE_CHECK(is_file(file));
    const Record& found = record(file);
    COPPICE_CHECK(found.owner < sources_.size());
    return sources_[found.owner]->open(found.content, found.size);
}

} // namespace coppice::vdisk
