#include "coppice/vdisk/flattener.h"

#include "coppice/base/text.h"

#include <algorithm>

namespace coppice::vdisk {

namespace {

/// A snapshot and the ancestor up to which one layer shall stand for all.
struct Span {
    store::SnapshotId top, base;
};

/// Topmost first. The largest power of two that divides a snapshot's depth is how many layers its shortcut is over, so
/// that the shortcuts of one line lie side by side or one within another, whoever branches where; a stack has at most
/// as many parts as its depth has binary digits, and the base.
std::vector<Span> spans_of(const std::vector<store::Snapshot>& line)
{
    std::vector<Span> spans;
    for (std::size_t depth = line.size() - 1; depth > 0;) {
        const std::size_t length = depth & -depth;
        const std::size_t at = line.size() - 1 - depth;
        if (length > 1) spans.push_back({.top = line[at].id, .base = line[at + length].id});
        depth -= length;
    }
    return spans;
}

} // namespace

Result<bool> Flattener::is_too_deep(std::span<const store::StackPart> parts)
{
    if (parts.size() > policy_.layers) return true;
    if (parts.size() <= policy_.in_directory) return false;
    // The lowest, a whole system, is not read for this: whatever is hot is in it, too.
    const auto stack = TRY(trees_->trees_of(parts.first(parts.size() - 1)));
    return most_layers_of_a_directory(stack) + 1 > policy_.in_directory;
}

Result<std::size_t> Flattener::flatten(const store::SnapshotId& id, const GoOn& go_on)
{
    const std::lock_guard lock{mutex_};
    std::vector<Span> missing;
    std::vector<store::StackPart> parts;
    TRY(store_->read([&](const store::View& view) -> Result<> {
        auto line = TRY(store::lineage(view, id));
        const auto sealed = std::find_if(line.begin(), line.end(), [](const store::Snapshot& one) {
            return one.state == store::SnapshotState::Sealed;
        });
        line.erase(line.begin(), sealed);
        if (line.empty()) return {};
        parts = TRY(store::stack_parts(view, store_->manifests(), line.front().id));
        for (const Span& span : spans_of(line)) {
            const bool there = std::any_of(parts.begin(), parts.end(), [&](const store::StackPart& part) {
                return part.snapshot == span.top && part.base == span.base;
            });
            if (!there) missing.push_back(span);
        }
        return {};
    }));
    if (missing.empty() || !TRY(is_too_deep(parts))) return std::size_t{0};
    std::size_t made = 0;
    std::reverse(missing.begin(), missing.end()); // each looks at what is below it: the fewer layers the better
    for (const Span& span : missing) {
        if (!go_on()) break;
        auto added = trees_->add_shortcut(span.top, span.base, [&](std::uint64_t) -> Result<> {
            if (go_on()) return {};
            return fail(ErrorKind::Unavailable, "flattening was stopped; it goes on later");
        });
        if (!added && !go_on()) break;
        if (TRY_DOING(cat("flatten snapshot ", span.top.hex()), std::move(added))) ++made;
    }
    return made;
}

Result<Flattener::Flattened> Flattener::flatten_all(const GoOn& go_on)
{
    Flattened all;
    for (const store::SnapshotId& id : TRY(store_->read([](const store::View& view) { return store::in_use(view); }))) {
        if (!go_on()) break;
        auto flattened = flatten(id, go_on);
        if (flattened)
            all.made += *flattened;
        else if (flattened.error().kind() != ErrorKind::NotFound) // removed meanwhile
            all.failed.emplace_back(id, std::move(flattened).error());
    }
    return all;
}

} // namespace coppice::vdisk
