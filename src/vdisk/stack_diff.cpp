#include "coppice/base/text.h"
#include "stack_view.h"

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <sys/stat.h>

namespace coppice::vdisk {

namespace {

constexpr std::size_t kBufferBytes = 256U << 10;

struct Side {
    std::uint32_t mode = 0; ///< 0: nothing is there
    std::uint64_t bytes = 0;
};

Side side_of(const Merged* entry)
{
    if (entry == nullptr) return {};
    const auto& [tree, inode] = entry->top();
    return {.mode = tree->mode(inode), .bytes = tree->is_file(inode) ? tree->size(inode) : 0};
}

Result<bool> same_content(const Place& a, const Place& b)
{
    const std::uint64_t bytes = a.tree->size(a.inode);
    if (bytes != b.tree->size(b.inode)) return false;
    if (bytes == 0) return true;
    const auto first = TRY(a.tree->open_content(a.inode));
    const auto second = TRY(b.tree->open_content(b.inode));
    std::string one(std::min<std::uint64_t>(bytes, kBufferBytes), '\0'), two = one;
    for (std::uint64_t at = 0; at < bytes; at += one.size()) {
        const std::size_t part = std::min<std::uint64_t>(one.size(), bytes - at);
        TRY(first->read(at, std::span{one}.first(part)));
        TRY(second->read(at, std::span{two}.first(part)));
        if (std::string_view{one}.substr(0, part) != std::string_view{two}.substr(0, part)) return false;
    }
    return true;
}

/// Attributes as a user sees them: the opaque mark is a matter between layers.
std::vector<Xattr> visible_xattrs(const Place& place)
{
    auto xattrs = place.tree->xattrs(place.inode);
    std::erase_if(xattrs, [](const Xattr& xattr) { return xattr.name == kOpaqueXattr; });
    std::sort(xattrs.begin(), xattrs.end(), [](const Xattr& a, const Xattr& b) { return a.name < b.name; });
    return xattrs;
}

/// How the two differ; empty: not at all.
Result<std::optional<Change::Kind>> difference(const Place& a, const Place& b)
{
    using Kind = std::optional<Change::Kind>;
    if (a == b) return Kind{};
    const auto was = a.tree->attributes(a.inode), is = b.tree->attributes(b.inode);
    if ((was.mode & S_IFMT) != (is.mode & S_IFMT)) return Kind{Change::Kind::Type};
    if (a.tree->is_file(a.inode) && !TRY(same_content(a, b))) return Kind{Change::Kind::Content};
    if (a.tree->is_link(a.inode) && a.tree->target(a.inode) != b.tree->target(b.inode))
        return Kind{Change::Kind::Content};
    const bool device = S_ISCHR(was.mode) || S_ISBLK(was.mode);
    if (device && a.tree->device(a.inode) != b.tree->device(b.inode)) return Kind{Change::Kind::Content};
    if (was != is || visible_xattrs(a) != visible_xattrs(b)) return Kind{Change::Kind::Attributes};
    return Kind{};
}

class Diff {
public:
    explicit Diff(const std::function<Result<>(const Change&)>& take) : take_{take} {}

    /// At least one of the two is there.
    Result<> compare(const Merged* old_entry, const Merged* new_entry, const std::string& path)
    {
        const Side was = side_of(old_entry), is = side_of(new_entry);
        const auto tell = [&](Change::Kind kind) {
            return take_({.kind = kind,
                          .path = path,
                          .old_mode = was.mode,
                          .new_mode = is.mode,
                          .old_bytes = was.bytes,
                          .new_bytes = is.bytes});
        };
        if (old_entry == nullptr) {
            TRY(tell(Change::Kind::Added));
        } else if (new_entry == nullptr) {
            TRY(tell(Change::Kind::Removed));
        } else {
            if (old_entry->places == new_entry->places) return {}; // the very same, and all below
            if (const auto kind = TRY(difference(old_entry->top(), new_entry->top()))) TRY(tell(*kind));
        }
        return descend(old_entry, new_entry, path);
    }

private:
    /// Depth is bounded by the layer format's.
    Result<> descend(const Merged* old_entry, const Merged* new_entry, const std::string& path)
    {
        std::map<std::string_view, Merged> before, after;
        if (old_entry != nullptr && old_entry->is_directory()) before = entries_of(*old_entry);
        if (new_entry != nullptr && new_entry->is_directory()) after = entries_of(*new_entry);
        std::erase_if(before, [](const auto& entry) { return entry.second.hidden; });
        std::erase_if(after, [](const auto& entry) { return entry.second.hidden; });
        auto a = before.begin();
        auto b = after.begin();
        while (a != before.end() || b != after.end()) {
            const bool has_old = a != before.end() && (b == after.end() || a->first <= b->first);
            const bool has_new = b != after.end() && (a == before.end() || b->first <= a->first);
            const std::string_view name = has_old ? a->first : b->first;
            TRY(compare(has_old ? &a->second : nullptr, has_new ? &b->second : nullptr,
                        cat(path, path.empty() ? "" : "/", name)));
            if (has_old) ++a;
            if (has_new) ++b;
        }
        return {};
    }

    const std::function<Result<>(const Change&)>& take_;
};

} // namespace

Result<> diff(const TreeStack& old_stack, const TreeStack& new_stack,
              const std::function<Result<>(const Change&)>& take)
{
    if (old_stack.empty() || new_stack.empty()) return fail(ErrorKind::Invalid, "there are no layers to compare");
    const Merged before = root_of(old_stack), after = root_of(new_stack);
    return Diff{take}.compare(&before, &after, "");
}

} // namespace coppice::vdisk
