#pragma once

#include "coppice/store/manifest.h"
#include "coppice/store/snapshot.h"

#include <mutex>
#include <optional>
#include <unordered_map>
#include <unordered_set>

namespace coppice::store {

/// What signed documents of this node say, remembered once it was proved: manifests by their digest, which follows from
/// what they say. So a line of snapshots is proved again without reading its envelopes. Any thread.
class CheckedManifests {
public:
    explicit CheckedManifests(const security::PublicKey& node) : node_{node} {}

    /// That the manifest of a sealed snapshot names what its row names: itself, its parent and its layer.
    /// @param named the digest that a child's manifest, or another signed document, gives it; empty: it is the first
    /// one and must be signed by this node. @returns the digest that it gives its parent Errors: Denied (no signature
    /// of this node), Corrupt, NotFound
    Result<std::optional<ManifestDigest>> prove(const View& view, const Snapshot& snapshot,
                                                const std::optional<ManifestDigest>& named) const;

    /// That this node has signed exactly this payload. Errors: Denied, Corrupt
    Result<> prove_signed(std::string_view envelope, std::string_view type, std::string_view payload) const;

private:
    struct Said {
        SnapshotId id;
        std::optional<SnapshotId> parent;
        std::optional<ManifestDigest> parent_manifest;
        std::optional<LayerDigest> layer;
    };
    Result<Said> read(const View& view, const SnapshotId& id, const ManifestDigest& digest, bool check_signature) const;
    [[nodiscard]] std::optional<Said> remembered(const ManifestDigest& digest, bool check_signature) const;

    const security::PublicKey node_;
    mutable std::mutex mutex_; ///< of what follows; held for look-ups alone
    mutable std::unordered_map<ManifestDigest, Said, security::HashOfName> said_;
    mutable std::unordered_set<ManifestDigest, security::HashOfName> signed_;
};

} // namespace coppice::store
