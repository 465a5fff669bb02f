#include "coppice/vdisk/snapshot_trees.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/store/chunk_reader.h"
#include "coppice/store/ingest.h"
#include "coppice/store/seal.h"
#include "coppice/vdisk/ingest_sink.h"
#include "coppice/vdisk/layer_reader.h"
#include "coppice/vdisk/read_tree.h"
#include "made_before.h"
#include "working_files.h"

#include <algorithm>
#include <cstring>

namespace coppice::vdisk {

namespace {

constexpr std::size_t kCopyBytes = 256U << 10;

/// A layer's blob as the packs have it. Small files lie side by side in one chunk, so the last one is kept.
class PackedBlob final : public OpenContent {
public:
    PackedBlob(const store::Store& store, store::ChunkTable table) : reader_{store}, table_{std::move(table)} {}

    Result<> read(std::uint64_t offset, std::span<char> out) const override
    {
        const std::lock_guard lock{mutex_};
        while (!out.empty()) {
            const std::size_t index = table_.find(offset);
            if (index == table_.size()) return fail(ErrorKind::Corrupt, "a file ends behind its layer's blob");
            if (index != kept_) {
                kept_ = table_.size();
                plain_.resize(table_[index].plain_bytes);
                TRY(reader_.read_plain(table_[index], plain_.data()));
                kept_ = index;
            }
            const std::size_t within = offset - table_.offset(index);
            const std::size_t part = std::min(out.size(), plain_.size() - within);
            std::memcpy(out.data(), plain_.data() + within, part);
            offset += part;
            out = out.subspan(part);
        }
        return {};
    }

private:
    store::ChunkReader reader_;
    store::ChunkTable table_;
    mutable std::mutex mutex_;
    mutable std::size_t kept_ = SIZE_MAX;
    mutable std::string plain_;
};

/// An upper directory, frozen or not, by its path in the store.
Result<std::shared_ptr<const Tree>> read_upper(const store::Store& store, const std::string& path)
{
    const auto directory = TRY(os::open_at(store.directory(), path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    return std::make_shared<const Tree>(
        TRY(read_tree(directory, {.form = ScanOptions::Form::OverlayUpper, .cross_mounts = false})));
}

} // namespace

Result<std::shared_ptr<const Tree>> SnapshotTrees::tree_of(const store::Layer& layer)
{
    const std::lock_guard lock{mutex_};
    auto& known = read_[layer.digest];
    if (auto tree = known.lock()) return tree;
    auto blob = std::make_shared<const PackedBlob>(*store_, TRY(store::load_table(*store_, layer)));
    auto metadata = TRY(store::open_metadata(*store_, layer));
    std::shared_ptr<const OpenContent> content = TRY(open_whole_file(std::move(metadata), layer.metadata_bytes));
    auto tree =
        std::make_shared<const Tree>(TRY(read_layer(std::move(content), layer.metadata_bytes, std::move(blob))));
    known = tree;
    return tree;
}

Result<TreeStack> SnapshotTrees::trees_of(std::span<const store::StackPart> parts)
{
    TreeStack stack;
    for (const store::StackPart& part : parts) {
        const auto read = [&]() -> Result<std::shared_ptr<const Tree>> {
            if (part.layer) return tree_of(*part.layer);
            return read_upper(*store_, frozen_name(part.snapshot));
        };
        stack.push_back(TRY_DOING(cat("snapshot ", part.snapshot.hex()), read()));
    }
    return stack;
}

Result<TreeStack> SnapshotTrees::stack_of(const store::SnapshotId& id)
{
    // Layer by layer: what two snapshots have in common is one tree then.
    const auto parts = TRY(store_->read([&](const store::View& view) {
        return store::stack_parts(view, store_->manifests(), id, store::Shortcuts::Ignore);
    }));
    return trees_of(parts);
}

Result<SnapshotTrees::Cut> SnapshotTrees::cut_at(const store::SnapshotId& id,
                                                 const std::optional<store::SnapshotId>& base, store::Shortcuts use)
{
    std::vector<store::StackPart> parts, below;
    TRY(store_->read([&](const store::View& view) -> Result<> {
        if (base && !TRY(store::is_ancestor(view, *base, id)))
            return fail(ErrorKind::Invalid, cat(base->hex(), " is not an ancestor of ", id.hex()));
        parts = TRY(store::stack_parts(view, store_->manifests(), id, use));
        if (base) below = TRY(store::stack_parts(view, store_->manifests(), *base, use));
        return {};
    }));
    const auto same = [](const store::StackPart& a, const store::StackPart& b) {
        return a.snapshot == b.snapshot && a.base == b.base;
    };
    if (below.size() > parts.size() || !std::equal(below.rbegin(), below.rend(), parts.rbegin(), same)) {
        COPPICE_CHECK(use == store::Shortcuts::Use);
        return cut_at(id, base, store::Shortcuts::Ignore); // a shortcut leads past the base
    }
    Cut cut;
    cut.above = TRY(trees_of(std::span{parts}.first(parts.size() - below.size())));
    if (!cut.above.empty()) cut.below = TRY(trees_of(below));
    return cut;
}

Result<store::StagedLayer> SnapshotTrees::write_merged(const Cut& cut, const store::IngestOptions& options,
                                                       const store::Watch& watch, LayerSize& size)
{
    auto tree = TRY(merge_trees(cut.above, cut.below));
    const auto ingest = TRY(store::Ingest::begin(*store_, options));
    IngestSink sink{*ingest, watch};
    size = TRY(write_layer(tree, sink, sink));
    return ingest->finish();
}

Result<> SnapshotTrees::diff(const store::SnapshotId& from, const store::SnapshotId& to,
                             const std::function<Result<>(const Change&)>& take)
{
    const auto before = TRY(stack_of(from));
    const auto after = TRY(stack_of(to));
    return vdisk::diff(before, after, take);
}

Result<TreeStack> SnapshotTrees::stack_of_working(const store::Working& working)
{
    auto stack = TRY(stack_of(working.snapshot));
    stack.insert(stack.begin(), TRY(read_upper(*store_, working_layer_name(working.name) + "/upper")));
    return stack;
}

Result<> SnapshotTrees::diff_working(const store::Working& working, const std::function<Result<>(const Change&)>& take)
{
    const auto after = TRY(stack_of_working(working));
    return vdisk::diff({after.begin() + 1, after.end()}, after, take);
}

Result<> SnapshotTrees::copy_file(const TreeStack& stack, const std::string& path, ByteSink& out)
{
    const auto tree = TRY(merge_trees(stack));
    const auto found = tree.find_path(path);
    if (!found) return fail(ErrorKind::NotFound, cat(printable(path), " is not there"));
    if (!tree.is_file(*found)) return fail(ErrorKind::Invalid, cat(printable(path), " is no regular file"));
    if (tree.size(*found) == 0) return {};
    const auto content = TRY(tree.open_content(*found));
    std::string buffer(kCopyBytes, '\0');
    for (std::uint64_t at = 0; at < tree.size(*found); at += buffer.size()) {
        const std::size_t part = std::min<std::uint64_t>(buffer.size(), tree.size(*found) - at);
        TRY(content->read(at, std::span{buffer}.first(part)));
        TRY(out.write(std::string_view{buffer}.substr(0, part)));
    }
    return content->check_unchanged();
}

Result<store::Snapshot> SnapshotTrees::merge(const store::SnapshotId& id, const std::optional<store::SnapshotId>& base,
                                             const MergeNote& note)
{
    if (note.request) {
        const auto before =
            TRY(store_->read([&](const store::View& view) { return made_before(view, *note.request); }));
        if (before) return *before;
    }
    const auto cut =
        TRY(cut_at(id, base, store::Shortcuts::Ignore)); // first: a wrong base is told before anything is sealed
    Result<> wanted_still;
    auto sealed = sealer_->seal(id, [&] {
        wanted_still = note.watch(0);
        return wanted_still.has_value();
    });
    TRY(std::move(wanted_still));
    TRY(std::move(sealed));
    std::string config;
    const auto top = TRY(store_->read([&](const store::View& view) -> Result<store::Snapshot> {
        config = TRY(store::config_of(view, id));
        return store::get_snapshot(view, id);
    }));
    const store::NewSnapshot wanted{.id = security::make_random<store::SnapshotId>(),
                                    .vdisk = top.vdisk,
                                    .parent = base,
                                    .state = store::SnapshotState::Durable,
                                    .bytes = 0,
                                    .author = note.author,
                                    .message = note.message,
                                    .config = std::move(config)};
    LayerSize size;
    const auto enter = [&](const store::StagedLayer* layer) {
        return store_->write([&](store::Txn& txn) -> Result<store::Snapshot> {
            // The configuration goes with it; of the layers the stack was proved.
            TRY(store::verify_snapshot(txn, top, {&store_->node_key().public_key(), 1}));
            TRY(store::add_snapshot(txn, wanted));
            TRY(store::seal_snapshot(txn, wanted.id, layer, store_->node_key(), size.file_bytes));
            auto made = TRY(store::get_snapshot(txn, wanted.id));
            if (note.also) TRY(note.also(txn, made));
            if (note.request) TRY(store::keep_outcome(txn, *note.request, wanted.id.hex()));
            return made;
        });
    };
    if (cut.above.empty()) return enter(nullptr); // nothing has changed since the base
    const auto layer =
        TRY(write_merged(cut, {.key = cat("merge ", id.hex(), " ", base ? base->hex() : "all")}, note.watch, size));
    return enter(&layer);
}

Result<bool> SnapshotTrees::add_shortcut(const store::SnapshotId& id, const store::SnapshotId& base,
                                         const store::Watch& watch)
{
    const auto cut = TRY(cut_at(id, base, store::Shortcuts::Use));
    if (cut.above.size() < 2) return false;
    LayerSize size;
    // Its blob is made when it is mounted.
    const auto layer = TRY(write_merged(cut, {.key = cat("flatten ", id.hex()), .write_blob = false}, watch, size));
    step("flatten staged");
    return store_->write([&](store::Txn& txn) -> Result<bool> {
        if (!TRY(store::find_snapshot(txn, id))) return false; // removed meanwhile; a collection takes what was written
        TRY(store::add_shortcut(txn, id, base, layer, store_->node_key()));
        return true;
    });
}

} // namespace coppice::vdisk
