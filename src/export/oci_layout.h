#pragma once

#include "coppice/export/export_snapshot.h"

namespace coppice::exports {

/// Writes an OCI image layout with one image of one layer into an empty directory, and syncs it.
/// @param directory borrowed. @param config of the snapshot, which becomes the image's
/// @param reference as in ExportOptions
/// @returns bytes and the manifest's digest
/// Errors: Invalid (reference; a configuration that is none), those of write_tar. Source: OCI Image Format 1.1
Result<Exported> write_layout(int directory, const vdisk::Tree& tree, const store::Snapshot& snapshot,
                              std::string_view config, const std::string& reference, const Context& context);

/// Errors: Invalid (not what an index may say as org.opencontainers.image.ref.name)
Result<> check_reference(std::string_view reference);

} // namespace coppice::exports
