#pragma once

#include "coppice/security/dsse.h"
#include "coppice/security/merkle.h"

#include <cstdint>

/// What names what in a store; see docs/design/storage.md, section "Words". Each is a type of its own.
namespace coppice::store {

struct PlainKind {};
struct StoredKind {};
struct MetadataKind {};
struct TableKind {};
struct LayerKind {};
struct SnapshotKind {};
struct VdiskKind {};
struct StoreKind {};

using PlainDigest = security::Digest<PlainKind>;       ///< of a chunk's plain bytes: its identity
using StoredDigest = security::Digest<StoredKind>;     ///< of a chunk as it lies in a pack
using MetadataDigest = security::Digest<MetadataKind>; ///< of a layer's EROFS metadata
using TableDigest = security::Digest<TableKind>;       ///< of a chunk table
using LayerDigest = security::Digest<LayerKind>;       ///< of metadata digest and Merkle root
using ManifestDigest = security::DocumentDigest;
using SnapshotId = security::RandomId<SnapshotKind>;
using VdiskId = security::RandomId<VdiskKind>;
using StoreId = security::RandomId<StoreKind>;

/// Nanoseconds since 1970, UTC.
enum class Time : std::int64_t {};
Time now();
constexpr std::int64_t nanoseconds(Time time) { return static_cast<std::int64_t>(time); }
std::string to_rfc3339(Time time);
constexpr Time after(Time time, std::int64_t seconds) { return Time{nanoseconds(time) + seconds * 1'000'000'000}; }

/// "coppice layer 1" and the two. Source: docs/format/chunk-table.md
LayerDigest layer_digest(const MetadataDigest& metadata, const security::MerkleRoot& root);

} // namespace coppice::store
