#pragma once

#include "coppice/import/tree_import.h"

#include <optional>

namespace coppice::imports {

/// A disk with a Linux root file system: a raw image, a qcow2 image (through qemu-img, into a temporary file of
/// Context::spool_path), or a block device. The file system (ext2-4, XFS, Btrfs, EROFS, SquashFS) is on the whole disk
/// or in a partition (GPT, MBR).
///
/// It is mounted through a read-only loop device, nodev, nosuid and noexec, as a detached mount: it is attached
/// nowhere, no other process sees it, and it goes with the tree, even when this process is killed. (The kernel itself
/// reads what may be a hostile file system: those who may import disks are administrators.)
/// @param partition which one; empty: the one that can be the root
/// Errors: Invalid (several or no partitions: says which there are), Corrupt, Unsupported (file system, backing files),
/// NotFound (qemu-img), Unavailable (Limits, stopped). Blocks. Any thread
Result<Imported> import_disk(const std::string& path, std::optional<unsigned> partition, const Context& context);

} // namespace coppice::imports
