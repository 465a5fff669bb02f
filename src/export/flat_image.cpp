#include "flat_image.h"

#include "coppice/os/disk.h"
#include "coppice/os/file.h"
#include "coppice/store/chunk_reader.h"
#include "coppice/vdisk/layer_reader.h"
#include "sinks.h"

namespace coppice::exports {

namespace {

constexpr std::string_view kMetadata = "the merged layer's metadata", kBlob = "the merged layer's content";

/// Tells how far it has come, and stops on request.
class Watch {
public:
    Watch(const Context& context, std::uint64_t total) : context_{&context}, total_{total} {}
    Result<> went_on(std::uint64_t bytes)
    {
        done_ += bytes;
        context_->progress({.stage = "writing the image", .bytes = done_, .total_bytes = total_});
        return imports::check_stop(context_->stop);
    }

private:
    const Context* context_;
    std::uint64_t done_ = 0, total_;
};

Result<> write_stored(store::Store& store, const store::Layer& layer, vdisk::ByteSink& out, const Context& context)
{
    const auto table = TRY(store::load_table(store, layer));
    auto reader = TRY(vdisk::LayerReader::open(TRY(store::open_metadata(store, layer))));
    TRY(reader.write_flat(out));
    const store::ChunkReader chunks{store};
    std::string plain(store::kChunkMaxBytes, '\0');
    Watch watch{context, layer.blob_bytes};
    for (std::size_t i = 0; i < table.size(); ++i) {
        TRY(chunks.read_plain(table[i], plain.data()));
        TRY(out.write(std::string_view{plain}.substr(0, table[i].plain_bytes)));
        TRY(watch.went_on(table[i].plain_bytes));
    }
    return {};
}

/// Blob and metadata of a merged layer on their way into files.
class PassingLayer final : public store::ChunkSink, public vdisk::ByteSink {
public:
    PassingLayer(const os::Fd& blob, const os::Fd& metadata, const Context& context)
        : blob_{blob.get(), std::string{kBlob}}, metadata_{metadata.get(), std::string{kMetadata}}, watch_{context, 0}
    {
    }
    Result<> put(std::string_view chunk) override
    {
        bytes_ += chunk.size();
        TRY(blob_.write(chunk));
        return watch_.went_on(chunk.size());
    }
    Result<> write(std::string_view part) override { return metadata_.write(part); }
    Result<> finish()
    {
        TRY(blob_.flush());
        return metadata_.flush();
    }
    [[nodiscard]] std::uint64_t blob_bytes() const { return bytes_; }

private:
    FileSink blob_, metadata_;
    Watch watch_;
    std::uint64_t bytes_ = 0;
};

Result<> write_merged(store::Store& store, const vdisk::TreeStack& stack, vdisk::ByteSink& out, const Context& context)
{
    auto tree = TRY(vdisk::merge_trees(stack));
    const auto tmp = TRY(os::open_at(store.directory(), "tmp", O_RDONLY | O_DIRECTORY));
    const auto blob = TRY(os::open_at(tmp.get(), ".", O_TMPFILE | O_RDWR, 0600));
    auto metadata = TRY(os::open_at(tmp.get(), ".", O_TMPFILE | O_RDWR, 0600));
    PassingLayer layer{blob, metadata, context};
    TRY(vdisk::write_layer(tree, layer, layer));
    TRY(layer.finish());
    auto reader = TRY(vdisk::LayerReader::open(std::move(metadata)));
    TRY(reader.write_flat(out));
    std::string buffer(store::kChunkMaxBytes, '\0');
    for (std::uint64_t at = 0; at < layer.blob_bytes(); at += buffer.size()) {
        TRY(imports::check_stop(context.stop));
        buffer.resize(std::min<std::uint64_t>(buffer.size(), layer.blob_bytes() - at));
        TRY(os::read_at(blob.get(), buffer.data(), buffer.size(), at, kBlob));
        TRY(out.write(buffer));
    }
    return {};
}

} // namespace

Result<> write_flat_image(store::Store& store, vdisk::SnapshotTrees& trees, const store::SnapshotId& id,
                          vdisk::ByteSink& out, const Context& context)
{
    const auto only = TRY(store.read([&](const store::View& view) -> Result<std::optional<store::Layer>> {
        const auto line = TRY(store::lineage(view, id));
        if (line.size() != 1 || !line.front().layer) return std::optional<store::Layer>{};
        return std::optional{TRY(store::get_layer(view, *line.front().layer))};
    }));
    if (only) return write_stored(store, *only, out, context);
    return write_merged(store, TRY(trees.stack_of(id)), out, context);
}

} // namespace coppice::exports
