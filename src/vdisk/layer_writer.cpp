#include "coppice/vdisk/layer_writer.h"

#include "blob_writer.h"
#include "coppice/base/text.h"
#include "layer_order.h"
#include "metadata_writer.h"

namespace coppice::vdisk {

namespace {

Result<> add_file(BlobWriter& blob, const Tree& tree, InodeId inode)
{
    const auto content = TRY(tree.open_content(inode));
    return blob.add_file(*content, tree.size(inode));
}

} // namespace

Result<LayerSize> write_layer(Tree& tree, store::ChunkSink& blob_sink, ByteSink& metadata_sink)
{
    tree.sort();
    const LayerOrder order = TRY(order_for_layer(tree));
    BlobWriter blob{blob_sink};
    for (const InodeId inode : order.inodes) {
        if (!tree.is_file(inode) || tree.size(inode) == 0) continue;
        if (auto added = add_file(blob, tree, inode); !added)
            return fail(std::move(added).error().with(printable(tree.path_of(inode))));
    }
    TRY(blob.finish());
    const std::uint64_t metadata_bytes = TRY(write_metadata(tree, order, blob, metadata_sink));
    return LayerSize{.metadata_bytes = metadata_bytes,
                     .blob_bytes = blob.blocks() * kBlockBytes,
                     .chunks = blob.chunks(),
                     .inodes = order.inodes.size(),
                     .file_bytes = order.file_bytes};
}

} // namespace coppice::vdisk
