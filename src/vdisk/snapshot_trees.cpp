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

Result<std::shared_ptr<const Tree>> SnapshotTrees::tree_of(const store::Snapshot& snapshot)
{
    if (!snapshot.layer) return read_upper(*store_, frozen_name(snapshot.id));
    const std::lock_guard lock{mutex_};
    auto& known = read_[*snapshot.layer];
    if (auto tree = known.lock()) return tree;
    const auto layer =
        TRY(store_->read([&](const store::View& view) { return store::get_layer(view, *snapshot.layer); }));
    auto blob = std::make_shared<const PackedBlob>(*store_, TRY(store::load_table(*store_, layer)));
    auto metadata = TRY(store::open_metadata(*store_, layer));
    std::shared_ptr<const OpenContent> content = TRY(open_whole_file(std::move(metadata), layer.metadata_bytes));
    auto tree =
        std::make_shared<const Tree>(TRY(read_layer(std::move(content), layer.metadata_bytes, std::move(blob))));
    known = tree;
    return tree;
}

Result<TreeStack> SnapshotTrees::stack_above(const store::SnapshotId& id, const std::optional<store::SnapshotId>& base)
{
    TreeStack stack;
    for (const store::Snapshot& one :
         TRY(store_->read([&](const store::View& view) { return store::ancestors(view, id); }))) {
        if (base && one.id == *base) return stack;
        if (one.state == store::SnapshotState::Sealed && !one.layer) continue;
        stack.push_back(TRY_DOING(cat("snapshot ", one.id.hex()), tree_of(one)));
    }
    if (base) return fail(ErrorKind::Invalid, cat(base->hex(), " is not an ancestor of ", id.hex()));
    return stack;
}

Result<TreeStack> SnapshotTrees::stack_of(const store::SnapshotId& id) { return stack_above(id, {}); }

Result<> SnapshotTrees::diff(const store::SnapshotId& from, const store::SnapshotId& to,
                             const std::function<Result<>(const Change&)>& take)
{
    const auto before = TRY(stack_of(from));
    const auto after = TRY(stack_of(to));
    return vdisk::diff(before, after, take);
}

Result<> SnapshotTrees::diff_working(const store::Working& working, const std::function<Result<>(const Change&)>& take)
{
    const auto before = TRY(stack_of(working.snapshot));
    auto after = before;
    after.insert(after.begin(), TRY(read_upper(*store_, working_layer_name(working.name) + "/upper")));
    return vdisk::diff(before, after, take);
}

Result<> SnapshotTrees::copy_file(const store::SnapshotId& id, const std::string& path, ByteSink& out)
{
    const auto tree = TRY(merge_trees(TRY(stack_of(id)), MergeInto::Whole));
    const auto found = tree.find_path(path);
    if (!found) return fail(ErrorKind::NotFound, cat(printable(path), " is not in snapshot ", id.hex()));
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
    const auto stack = TRY(stack_above(id, base)); // first: a wrong base is told before anything is sealed
    TRY(sealer_->seal(id));
    const auto top = TRY(store_->read([&](const store::View& view) { return store::get_snapshot(view, id); }));
    const store::NewSnapshot wanted{.id = security::make_random<store::SnapshotId>(),
                                    .vdisk = top.vdisk,
                                    .parent = base,
                                    .state = store::SnapshotState::Durable,
                                    .bytes = top.bytes,
                                    .author = note.author,
                                    .message = note.message,
                                    .config = top.config};
    const auto enter = [&](const store::StagedLayer* layer) {
        return store_->write([&](store::Txn& txn) -> Result<store::Snapshot> {
            TRY(store::add_snapshot(txn, wanted));
            TRY(store::seal_snapshot(txn, wanted.id, layer, store_->node_key()));
            if (note.request) TRY(store::keep_outcome(txn, *note.request, wanted.id.hex()));
            return store::get_snapshot(txn, wanted.id);
        });
    };
    if (stack.empty()) return enter(nullptr); // nothing has changed since the base
    auto tree = TRY(merge_trees(stack, base ? MergeInto::Layer : MergeInto::Whole));
    const auto ingest =
        TRY(store::Ingest::begin(*store_, {.key = cat("merge ", id.hex(), " ", base ? base->hex() : "all")}));
    IngestSink sink{*ingest};
    TRY(write_layer(tree, sink, sink));
    const auto layer = TRY(ingest->finish());
    return enter(&layer);
}

} // namespace coppice::vdisk
