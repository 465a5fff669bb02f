#pragma once

#include "coppice/import/oci_image.h"
#include "decompress.h"

namespace coppice::imports {

/// As read_image, of files that came in an archive.
/// @param budget of the whole import
/// @param pays   false: the archive was read to its end, so that its files' bytes were counted
Result<Imported> read_nested_image(const vdisk::Tree& files, const ImageChoice& choice, const Context& context,
                                   UnpackBudget& budget, bool pays);

} // namespace coppice::imports
