#pragma once

#include "decompress.h"
#include "tree_builder.h"

namespace coppice::imports {

/// How far reading has come.
struct Reading {
    std::string_view stage;
    std::function<std::uint64_t()> done; ///< bytes of the source
    std::uint64_t total = 0;             ///< 0: not known
};

/// All entries of an archive into `builder`. Blocks. Errors: those of TarReader and TreeBuilder
Result<> add_archive(ByteStream& archive, TarReader::End end, Contents& contents, TreeBuilder& builder,
                     const Context& context, const Reading& reading);

/// A layer of an image, with what its image says of it.
struct LayerSource {
    std::function<Result<std::unique_ptr<ByteStream>>()> open; ///< packed or not
    std::string name;
    std::optional<security::Sha256Digest> digest; ///< of the stream; a docker-archive does not say
    std::optional<std::uint64_t> bytes;           ///< of the stream
    security::Sha256Digest diff_id;               ///< of the archive in it
    bool pays = true;                             ///< UnpackBudget: its bytes were not counted before
};

/// What the layers of an image are applied to, all borrowed, and how far it has come.
struct Application {
    Contents& contents;
    TreeBuilder& builder;
    UnpackBudget& budget;
    const Context& context;
    std::uint64_t done = 0, total = 0; ///< bytes of layers as they came, for the progress; total 0: not known
};

/// Applies a layer over what is there; its digests are right when this succeeds. Blocks.
/// Errors: Corrupt (they are not), those of add_archive
Result<> apply_layer(const LayerSource& layer, Application& application);

} // namespace coppice::imports
