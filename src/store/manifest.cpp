#include "coppice/store/manifest.h"

#include "coppice/base/id.h"
#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/store/snapshot.h"

#include <initializer_list>
#include <nlohmann/json.hpp>

namespace coppice::store {

namespace {

using nlohmann::json;

constexpr std::uint64_t kVersion = 1;
constexpr std::uint64_t kCountMax = INT64_MAX;
constexpr std::size_t kAlgorithmMaxBytes = 64, kProfilesMax = 64;

/// Only the form that to_rfc3339 makes.
Result<Time> parse_time(const JsonNode& node)
{
    const auto text = TRY(node.text());
    if (const auto parsed = parse_rfc3339(text); parsed && coppice::to_rfc3339(*parsed) == text)
        return Time{parsed->tv_sec * 1'000'000'000 + parsed->tv_nsec};
    return fail(node.complain("must be a time such as 2026-01-31T08:15:00.000000001Z"));
}

Result<> check_members(const JsonNode& node, std::initializer_list<const char*> names)
{
    if (!node.value().is_object()) return fail(node.complain("must be an object"));
    for (const char* const name : names)
        if (!node.value().contains(name)) return fail(node.complain(cat("lacks the member ", name)));
    if (node.value().size() != names.size()) return fail(node.complain("has members that are not known"));
    return {};
}

Result<std::string> text_of(const JsonNode& node, std::string_view key, std::size_t least, std::size_t most)
{
    const auto member = TRY(node.get(key));
    auto text = TRY(member.text());
    if (text.size() < least || text.size() > most)
        return fail(member.complain(cat("must have ", least, " to ", most, " bytes")));
    return text;
}

template <typename N> Result<N> name_of(const JsonNode& node, std::string_view key)
{
    const auto member = TRY(node.get(key));
    const auto text = TRY(member.text());
    auto name = N::parse(text);
    if (!name) return fail(member.complain(cat("must be ", 2 * N::kBytes, " lower-case hex digits")));
    return *name;
}

template <typename N> Result<std::optional<N>> optional_name_of(const JsonNode& node, std::string_view key)
{
    if (!TRY(node.find(key))) return std::optional<N>{};
    return std::optional<N>{TRY(name_of<N>(node, key))};
}

Result<std::uint64_t> count_of(const JsonNode& node, std::string_view key)
{
    const auto member = TRY(node.get(key));
    return member.unsigned_integer(kCountMax);
}

template <typename N> json hex_or_null(const std::optional<N>& name) { return name ? json(name->hex()) : json(); }

json layer_json(const Layer& layer)
{
    return {{"digest", layer.digest.hex()},
            {"metadata", {{"digest", layer.metadata.hex()}, {"bytes", layer.metadata_bytes}}},
            {"table", {{"digest", layer.table.hex()}, {"bytes", layer.table_bytes}}},
            {"merkle_root", layer.root.hex()},
            {"blob_bytes", layer.blob_bytes},
            {"chunks", layer.chunks}};
}

Result<Layer> parse_layer(const JsonNode& node)
{
    TRY(check_members(node, {"digest", "metadata", "table", "merkle_root", "blob_bytes", "chunks"}));
    const auto metadata = TRY(node.get("metadata"));
    const auto table = TRY(node.get("table"));
    TRY(check_members(metadata, {"digest", "bytes"}));
    TRY(check_members(table, {"digest", "bytes"}));
    Layer layer;
    layer.digest = TRY(name_of<LayerDigest>(node, "digest"));
    layer.metadata = TRY(name_of<MetadataDigest>(metadata, "digest"));
    layer.metadata_bytes = TRY(count_of(metadata, "bytes"));
    layer.table = TRY(name_of<TableDigest>(table, "digest"));
    layer.table_bytes = TRY(count_of(table, "bytes"));
    layer.root = TRY(name_of<security::MerkleRoot>(node, "merkle_root"));
    layer.blob_bytes = TRY(count_of(node, "blob_bytes"));
    layer.chunks = TRY(count_of(node, "chunks"));
    if (layer.digest != layer_digest(layer.metadata, layer.root))
        return fail(node.complain("its digest is not that of its metadata and root"));
    return layer;
}

Result<Manifest> parse_document(const JsonNode& root)
{
    // Version first: what else a newer one has is not for us to judge.
    if (TRY(text_of(root, "type", 1, 256)) != kManifestType) return fail(root.complain("is of another type"));
    if (const auto version = TRY(count_of(root, "version")); version != kVersion)
        return fail(Error{ErrorKind::Unsupported, cat("manifest version ", version)}.hint("use a newer coppice"));
    TRY(check_members(root, {"type", "version", "id", "vdisk", "parent", "seq", "epoch", "layer", "encryption",
                             "config", "profiles", "author", "author_certificate", "policy", "created", "message"}));
    Manifest manifest;
    manifest.id = TRY(name_of<SnapshotId>(root, "id"));
    const auto vdisk = TRY(root.get("vdisk"));
    TRY(check_members(vdisk, {"id", "name"}));
    manifest.vdisk = TRY(name_of<VdiskId>(vdisk, "id"));
    manifest.vdisk_name = TRY(text_of(vdisk, "name", 1, kNameMaxBytes));
    if (!check_name(manifest.vdisk_name)) return fail(vdisk.complain("its name is not one"));
    if (const auto parent = TRY(root.find("parent"))) {
        TRY(check_members(*parent, {"id", "manifest"}));
        const auto id = TRY(name_of<SnapshotId>(*parent, "id"));
        const auto digest = TRY(name_of<ManifestDigest>(*parent, "manifest"));
        manifest.parent = Manifest::Parent{.id = id, .manifest = digest};
    }
    manifest.seq = TRY(count_of(root, "seq"));
    if (manifest.seq == 0) return fail(root.complain("seq must be at least 1"));
    manifest.epoch = TRY(count_of(root, "epoch"));
    if (const auto layer = TRY(root.find("layer"))) manifest.layer = TRY(parse_layer(*layer));
    if (const auto encryption = TRY(root.find("encryption"))) {
        TRY(check_members(*encryption, {"algorithm", "key_id", "salt_epoch"}));
        Manifest::Encryption found;
        found.algorithm = TRY(text_of(*encryption, "algorithm", 1, kAlgorithmMaxBytes));
        found.key = TRY(name_of<security::KeyId>(*encryption, "key_id"));
        found.salt_epoch = TRY(count_of(*encryption, "salt_epoch"));
        manifest.encryption = std::move(found);
    }
    if (const auto config = TRY(root.find("config"))) {
        if (!config->value().is_object()) return fail(config->complain("must be an object"));
        manifest.config = config->value().dump();
        if (manifest.config.size() > kConfigMaxBytes) return fail(config->complain("is too large"));
    }
    if (!root.value()["profiles"].is_array()) return fail(root.complain("profiles must be an array"));
    TRY(root.each("profiles", [&](const JsonNode& node) -> Result<> {
        const auto text = TRY(node.text());
        if (manifest.profiles.size() == kProfilesMax) return fail(node.complain("is one profile too many"));
        manifest.profiles.push_back(TRY(security::Sha256Digest::parse(text)));
        return {};
    }));
    manifest.author = TRY(text_of(root, "author", 1, kAuthorMaxBytes));
    manifest.author_certificate = TRY(optional_name_of<security::Sha256Digest>(root, "author_certificate"));
    manifest.policy = TRY(optional_name_of<security::Sha256Digest>(root, "policy"));
    manifest.created = TRY(parse_time(TRY(root.get("created"))));
    manifest.message = TRY(text_of(root, "message", 0, kMessageMaxBytes));
    return manifest;
}

} // namespace

Result<Manifest> parse_manifest(std::string_view payload)
{
    if (payload.size() > security::kPayloadMaxBytes) return fail(ErrorKind::Invalid, "manifest: too large");
    const auto document = TRY_DOING("manifest", parse_json(payload));
    return with_context(parse_document(JsonNode{document}), "manifest");
}

Result<std::string> encode_manifest(const Manifest& manifest)
{
    json profiles = json::array();
    for (const auto& profile : manifest.profiles)
        profiles.push_back(profile.hex());
    json document = {
        {"type", kManifestType},
        {"version", kVersion},
        {"id", manifest.id.hex()},
        {"vdisk", {{"id", manifest.vdisk.hex()}, {"name", manifest.vdisk_name}}},
        {"parent", nullptr},
        {"seq", manifest.seq},
        {"epoch", manifest.epoch},
        {"layer", manifest.layer ? layer_json(*manifest.layer) : json()},
        {"encryption", nullptr},
        {"config", nullptr},
        {"profiles", std::move(profiles)},
        {"author", manifest.author},
        {"author_certificate", hex_or_null(manifest.author_certificate)},
        {"policy", hex_or_null(manifest.policy)},
        {"created", to_rfc3339(manifest.created)},
        {"message", manifest.message},
    };
    if (manifest.parent)
        document["parent"] = {{"id", manifest.parent->id.hex()}, {"manifest", manifest.parent->manifest.hex()}};
    if (manifest.encryption)
        document["encryption"] = {{"algorithm", manifest.encryption->algorithm},
                                  {"key_id", manifest.encryption->key.hex()},
                                  {"salt_epoch", manifest.encryption->salt_epoch}};
    if (!manifest.config.empty()) document["config"] = TRY_DOING("configuration", parse_json(manifest.config));
    auto payload = document.dump(-1, ' ', false, json::error_handler_t::replace);
    // What is signed must say what was meant: lengths, UTF-8 and everything else are judged by the parser alone.
    const auto again = TRY(parse_manifest(payload));
    if (again != manifest) return fail(ErrorKind::Invalid, "manifest: a text is not UTF-8");
    return payload;
}

Result<VerifiedManifest> verify_manifest(std::string_view envelope, std::span<const security::PublicKey> trusted)
{
    const auto opened = TRY(security::open_document(envelope, kManifestType, trusted));
    auto manifest = TRY(parse_manifest(opened.payload));
    return VerifiedManifest{.manifest = std::move(manifest), .digest = opened.digest, .signer = opened.signer};
}

} // namespace coppice::store
