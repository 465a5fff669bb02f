#pragma once

#include "coppice/security/sha256.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// The JSON documents of images. Input is hostile. Errors of all: Invalid (naming the member), Unsupported
namespace coppice::imports {

/// Names a blob. Source: OCI image-spec, descriptor.md
struct Descriptor {
    enum class Kind : unsigned char { Index, Manifest, Layer, Other };
    Kind kind = Kind::Other;
    std::string media_type;
    security::Sha256Digest digest;
    std::uint64_t bytes = 0;
    std::string reference;        ///< org.opencontainers.image.ref.name
    std::string os, architecture; ///< empty: not said
};

/// "sha256:" and 64 digits. Errors: Invalid, Unsupported (another algorithm)
Result<security::Sha256Digest> parse_digest(std::string_view text);

/// index.json, or an index among the blobs.
Result<std::vector<Descriptor>> parse_index(std::string_view text);

struct ImageManifest {
    Descriptor config;
    std::vector<Descriptor> layers; ///< lowest first
};
Result<ImageManifest> parse_image_manifest(std::string_view text);

/// manifest.json of a docker-archive.
struct ArchiveImage {
    std::string config; ///< file names
    std::vector<std::string> tags, layers;
};
Result<std::vector<ArchiveImage>> parse_archive_manifest(std::string_view text);

struct ImageConfig {
    std::string os, architecture;
    std::vector<security::Sha256Digest> diff_ids; ///< lowest first
};
Result<ImageConfig> parse_image_config(std::string_view text);

} // namespace coppice::imports
