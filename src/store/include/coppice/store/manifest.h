#pragma once

#include "coppice/security/dsse.h"
#include "coppice/security/sha256.h"
#include "coppice/store/layer.h"

#include <optional>
#include <span>
#include <string>
#include <vector>

namespace coppice::store {

inline constexpr std::string_view kManifestType = "application/vnd.coppice.snapshot.v1+json";

/// The signed document behind a sealed snapshot. Source: docs/format/manifest.md
struct Manifest {
    struct Parent {
        SnapshotId id;
        ManifestDigest manifest;
        friend bool operator==(const Parent&, const Parent&) = default;
    };
    struct Encryption {
        std::string algorithm;
        security::KeyId key;
        std::uint64_t salt_epoch = 0;
        friend bool operator==(const Encryption&, const Encryption&) = default;
    };
    SnapshotId id;
    VdiskId vdisk;
    std::string vdisk_name;
    std::optional<Parent> parent;
    std::uint64_t seq = 0, epoch = 0;
    std::optional<Layer> layer;
    std::optional<Encryption> encryption;
    std::string config; ///< JSON object, or empty
    std::vector<security::Sha256Digest> profiles;
    std::string author;
    std::optional<security::Sha256Digest> author_certificate, policy;
    Time created{};
    std::string message;
    friend bool operator==(const Manifest&, const Manifest&) = default;
};

/// The payload. Errors: Invalid (a text is too long, or is not UTF-8)
Result<std::string> encode_manifest(const Manifest& manifest);
/// A payload from anywhere. Errors: Invalid, naming the member; Unsupported (a newer version)
Result<Manifest> parse_manifest(std::string_view payload);

struct VerifiedManifest {
    Manifest manifest;
    ManifestDigest digest;
    security::KeyId signer;
};
/// Signature first, then the payload that it covers. Errors: those of security::open_document and parse_manifest
Result<VerifiedManifest> verify_manifest(std::string_view envelope, std::span<const security::PublicKey> trusted);

} // namespace coppice::store
