#pragma once

#include "coppice/store/chunk.h"
#include "coppice/vdisk/tree.h"

#include <cstdint>
#include <string_view>

namespace coppice::vdisk {

/// Takes bytes one after another.
class ByteSink {
public:
    ByteSink() = default;
    ByteSink(const ByteSink&) = delete;
    ByteSink& operator=(const ByteSink&) = delete;
    virtual ~ByteSink() = default;
    virtual Result<> write(std::string_view bytes) = 0;
};

struct LayerSize {
    std::uint64_t metadata_bytes = 0, blob_bytes = 0;
    std::uint64_t chunks = 0;     ///< that `put` was called for
    std::uint64_t inodes = 0;     ///< in the layer
    std::uint64_t file_bytes = 0; ///< of all files, holes included
    bool operator==(const LayerSize&) const = default;
};

/// Writes a tree as a layer: the whole blob first, then the metadata.
///
/// One pass over the files' content; beside the tree it needs 12 bytes per inode, 4 per piece of 256 KiB and about 1
/// MiB. The same tree gives the same bytes. Calls the sinks from the caller's thread only. Blocks on content and sinks.
/// @param tree only its order changes (Tree::sort)
/// Errors: Conflict (a file changed while it was read; named by its path), Unavailable (a limit of the format), the
/// sinks' Source: docs/format/layer.md
Result<LayerSize> write_layer(Tree& tree, store::ChunkSink& blob, ByteSink& metadata);

} // namespace coppice::vdisk
