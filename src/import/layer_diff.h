#pragma once

#include "tree_builder.h"

namespace coppice::imports {

/// How far reading has come.
struct Reading {
    std::string_view stage;
    std::function<std::uint64_t()> done; ///< bytes of the source
    std::uint64_t total = 0;             ///< 0: not known
};

/// All entries of an archive into `builder`.
Result<> add_archive(ByteStream& archive, TarReader::End end, Contents& contents, TreeBuilder& builder,
                     const Context& context, const Reading& reading);

/// A layer of an image, with what its image says of it.
struct LayerSource {
    std::function<Result<std::unique_ptr<ByteStream>>()> open; ///< packed or not
    std::string name;
    std::optional<security::Sha256Digest> digest; ///< of the stream; a docker-archive does not say
    std::optional<std::uint64_t> bytes;           ///< of the stream
    security::Sha256Digest diff_id;               ///< of the archive in it
};

/// Applies a layer over what `builder` has; its digests are right when this succeeds. Errors: Corrupt (they are not)
/// @param before bytes of the layers below, and `total` of all (0: not known): for the progress
/// @returns its own
Result<std::uint64_t> apply_layer(const LayerSource& layer, Contents& contents, TreeBuilder& builder,
                                  const Context& context, std::uint64_t before, std::uint64_t total);

} // namespace coppice::imports
