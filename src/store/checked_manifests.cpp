#include "coppice/store/checked_manifests.h"

#include "coppice/base/text.h"
#include "coppice/store/seal.h"

namespace coppice::store {

namespace {

constexpr std::size_t kMost = 65536; // about 20 MiB; a line of more is proved again each time

Error wrong(const SnapshotId& id, std::string_view what)
{
    return Error{ErrorKind::Corrupt, cat("snapshot ", id.hex(), ": ", what)}.hint("run coppice system fsck --crypto");
}

} // namespace

std::optional<CheckedManifests::Said> CheckedManifests::remembered(const ManifestDigest& digest,
                                                                   bool check_signature) const
{
    const std::lock_guard lock{mutex_};
    const auto found = said_.find(digest);
    if (found == said_.end() || (check_signature && !signed_.contains(digest))) return std::nullopt;
    return found->second;
}

Result<CheckedManifests::Said> CheckedManifests::read(const View& view, const SnapshotId& id,
                                                      const ManifestDigest& digest, bool check_signature) const
{
    if (auto known = remembered(digest, check_signature)) return *std::move(known);
    const auto envelope = TRY(read_envelope(view, id));
    if (check_signature) TRY(security::open_document(envelope, kManifestType, {&node_, 1}));
    const auto manifest = TRY(parse_manifest(TRY(security::open_known_document(envelope, kManifestType, digest))));
    Said said{.id = manifest.id, .parent = {}, .parent_manifest = {}, .layer = {}};
    if (manifest.parent) {
        said.parent = manifest.parent->id;
        said.parent_manifest = manifest.parent->manifest;
    }
    if (manifest.layer) said.layer = manifest.layer->digest;
    const std::lock_guard lock{mutex_};
    if (said_.size() >= kMost) {
        said_.clear();
        signed_.clear();
    }
    said_.emplace(digest, said);
    if (check_signature) signed_.insert(digest);
    return said;
}

Result<std::optional<ManifestDigest>> CheckedManifests::prove(const View& view, const Snapshot& snapshot,
                                                              const std::optional<ManifestDigest>& named) const
{
    if (!snapshot.manifest)
        return fail(wrong(snapshot.id, "it has no manifest, but a snapshot that comes from it has"));
    if (named && *named != *snapshot.manifest)
        return fail(wrong(snapshot.id, "its manifest is another one than its child says"));
    const auto said =
        TRY_DOING(cat("snapshot ", snapshot.id.hex()), read(view, snapshot.id, *snapshot.manifest, !named));
    if (said.id != snapshot.id || said.parent != snapshot.parent || said.layer != snapshot.layer)
        return fail(wrong(snapshot.id, "its manifest says something else than the database"));
    return said.parent_manifest;
}

Result<> CheckedManifests::prove_signed(std::string_view envelope, std::string_view type,
                                        std::string_view payload) const
{
    const auto digest = security::sha256<ManifestDigest>(security::pre_authentication(type, payload));
    {
        const std::lock_guard lock{mutex_};
        if (signed_.contains(digest)) return {};
    }
    const auto opened = TRY(security::open_document(envelope, type, {&node_, 1}));
    if (opened.digest != digest)
        return fail(ErrorKind::Corrupt, "what is signed is something else than the database says");
    const std::lock_guard lock{mutex_};
    if (signed_.size() >= kMost) signed_.clear();
    signed_.insert(digest);
    return {};
}

} // namespace coppice::store
