#pragma once

#include "coppice/import/tree_import.h"

namespace coppice::imports {

/// Whether the files are an OCI layout (oci-layout, index.json) or a docker-archive (manifest.json).
bool is_image(const vdisk::Tree& files);

/// Makes the image's root file system of its layers: each one's digest is compared before anything becomes of it, then
/// whiteouts and opaque directories are applied. Content goes through an unnamed file in Context::spool.
/// @param files of a layout directory or of an archive. Links among them are followed for a docker-archive only
/// Errors: Corrupt (digests, documents), NotFound (no such image or platform: says which there are), Unsupported
/// (encrypted layers, other digests than SHA-256), Invalid and Unavailable as import_tar, naming layer and entry.
/// Blocks. Any thread, also several at once
/// Source: OCI Image Format Specification 1.1
Result<Imported> read_image(const vdisk::Tree& files, const ImageChoice& choice, const Context& context);

/// In OCI's words.
std::string machine_architecture();

} // namespace coppice::imports
