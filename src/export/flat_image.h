#pragma once

#include "coppice/export/export_snapshot.h"

namespace coppice::exports {

/// Writes a snapshot as one EROFS file system: the layer that it consists of, as it is in the store; several layers are
/// merged first, for which their content passes through an unnamed file in the store's tmp/. Blocks.
/// Errors: Unavailable (disk full, stopped), Corrupt, those of `out`
Result<> write_flat_image(store::Store& store, vdisk::SnapshotTrees& trees, const store::SnapshotId& id,
                          vdisk::ByteSink& out, const Context& context);

} // namespace coppice::exports
