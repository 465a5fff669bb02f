#pragma once

#include "blob_writer.h"
#include "layer_order.h"

namespace coppice::vdisk {

/// Writes the metadata of a tree whose blob is written. Returns its size.
/// Source: docs/format/layer.md, "Metadata"
Result<std::uint64_t> write_metadata(const Tree& tree, const LayerOrder& order, const BlobWriter& blob, ByteSink& sink);

} // namespace coppice::vdisk
