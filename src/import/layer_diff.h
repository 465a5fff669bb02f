#pragma once

#include "tree_builder.h"

namespace coppice::imports {

/// All entries of an archive into `builder`.
Result<> add_archive(ByteStream& archive, TarReader::End end, Contents& contents, TreeBuilder& builder,
                     const Context& context, std::string_view stage);

/// A layer of an image, with what its image says of it.
struct LayerSource {
    std::function<Result<std::unique_ptr<ByteStream>>()> open; ///< packed or not
    std::string name;
    std::optional<security::Sha256Digest> digest; ///< of the stream; a docker-archive does not say
    std::optional<std::uint64_t> bytes;           ///< of the stream
    security::Sha256Digest diff_id;               ///< of the archive in it
};

/// Applies a layer over what `builder` has; its digests are right when this succeeds. Errors: Corrupt (they are not)
Result<> apply_layer(const LayerSource& layer, Contents& contents, TreeBuilder& builder, const Context& context);

} // namespace coppice::imports
