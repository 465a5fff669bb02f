#include "oci_documents.h"

#include "coppice/base/json.h"
#include "coppice/base/text.h"

#include <nlohmann/json.hpp>

namespace coppice::imports {

namespace {

constexpr std::string_view kSha256 = "sha256:";
constexpr std::size_t kDescriptorsMax = 4096;

Descriptor::Kind kind_of(std::string_view media_type)
{
    if (media_type == "application/vnd.oci.image.index.v1+json" ||
        media_type == "application/vnd.docker.distribution.manifest.list.v2+json")
        return Descriptor::Kind::Index;
    if (media_type == "application/vnd.oci.image.manifest.v1+json" ||
        media_type == "application/vnd.docker.distribution.manifest.v2+json")
        return Descriptor::Kind::Manifest;
    if (media_type.starts_with("application/vnd.oci.image.layer.") ||
        media_type.starts_with("application/vnd.docker.image.rootfs."))
        return Descriptor::Kind::Layer;
    return Descriptor::Kind::Other;
}

Result<security::Sha256Digest> digest_of(const JsonNode& node)
{
    const auto text = TRY(node.text());
    auto digest = parse_digest(text);
    if (!digest) return fail(std::move(digest).error().with(node.path()));
    return digest;
}

Result<Descriptor> parse_descriptor(const JsonNode& node)
{
    Descriptor descriptor;
    descriptor.media_type = TRY(node.text_or("mediaType", ""));
    descriptor.kind = kind_of(descriptor.media_type);
    descriptor.digest = TRY(digest_of(TRY(node.get("digest"))));
    descriptor.bytes = TRY(TRY(node.get("size")).unsigned_integer(INT64_MAX));
    if (const auto platform = TRY(node.find("platform"))) {
        descriptor.os = TRY(platform->text_or("os", ""));
        descriptor.architecture = TRY(platform->text_or("architecture", ""));
    }
    if (const auto annotations = TRY(node.find("annotations")))
        descriptor.reference = TRY(annotations->text_or("org.opencontainers.image.ref.name", ""));
    return descriptor;
}

Result<> check_schema(const JsonNode& root)
{
    const auto version = TRY(TRY(root.get("schemaVersion")).integer());
    if (version != 2) return fail(ErrorKind::Unsupported, cat("an image of the schema version ", version));
    return {};
}

Result<std::vector<Descriptor>> descriptors_of(const JsonNode& root, std::string_view member)
{
    std::vector<Descriptor> all;
    TRY(root.each(member, [&](const JsonNode& node) -> Result<> {
        if (all.size() == kDescriptorsMax) return fail(node.complain("too many entries"));
        all.push_back(TRY(parse_descriptor(node)));
        return {};
    }));
    return all;
}

} // namespace

Result<security::Sha256Digest> parse_digest(std::string_view text)
{
    if (!text.starts_with(kSha256))
        return fail(ErrorKind::Unsupported, cat("the digest ", printable(text.substr(0, 100)), " is no sha256"));
    return security::Sha256Digest::parse(text.substr(kSha256.size()));
}

Result<std::vector<Descriptor>> parse_index(std::string_view text)
{
    const auto json = TRY(parse_json(text));
    const JsonNode root{json};
    TRY(check_schema(root));
    return descriptors_of(root, "manifests");
}

Result<ImageManifest> parse_image_manifest(std::string_view text)
{
    const auto json = TRY(parse_json(text));
    const JsonNode root{json};
    TRY(check_schema(root));
    ImageManifest manifest;
    manifest.config = TRY(parse_descriptor(TRY(root.get("config"))));
    manifest.layers = TRY(descriptors_of(root, "layers"));
    for (const Descriptor& layer : manifest.layers)
        if (layer.kind != Descriptor::Kind::Layer || layer.media_type.ends_with("+encrypted"))
            return fail(ErrorKind::Unsupported, cat("a layer of the type ", printable(layer.media_type)));
    return manifest;
}

Result<std::vector<ArchiveImage>> parse_archive_manifest(std::string_view text)
{
    const auto json = TRY(parse_json(text));
    if (!json.is_array()) return fail(ErrorKind::Invalid, "manifest.json: must be an array");
    std::vector<ArchiveImage> images;
    for (const auto& element : json) {
        const JsonNode node{element, cat("[", images.size(), "]")};
        if (images.size() == kDescriptorsMax) return fail(node.complain("too many images"));
        ArchiveImage image;
        image.config = TRY(TRY(node.get("Config")).text());
        image.tags = TRY(node.texts_or_none("RepoTags"));
        image.layers = TRY(node.texts_or_none("Layers"));
        images.push_back(std::move(image));
    }
    return images;
}

Result<ImageConfig> parse_image_config(std::string_view text)
{
    const auto json = TRY(parse_json(text));
    const JsonNode root{json};
    ImageConfig config;
    config.os = TRY(root.text_or("os", ""));
    config.architecture = TRY(root.text_or("architecture", ""));
    const auto rootfs = TRY(root.get("rootfs"));
    TRY(rootfs.each("diff_ids", [&](const JsonNode& node) -> Result<> {
        if (config.diff_ids.size() == kDescriptorsMax) return fail(node.complain("too many layers"));
        config.diff_ids.push_back(TRY(digest_of(node)));
        return {};
    }));
    return config;
}

} // namespace coppice::imports
