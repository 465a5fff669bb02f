#pragma once

#include "coppice/import/context.h"

#include <cstdint>
#include <string_view>

/// qcow2 disk images. Source: qemu, docs/interop/qcow2.txt
namespace coppice::imports {

inline constexpr std::size_t kQcowHeaderBytes = 104;
bool is_qcow(std::string_view header);

/// What of its header must be right before anybody else reads the image. Input is hostile.
/// @param header the first kQcowHeaderBytes of the file, if there are as many
/// @returns the disk's bytes
/// Errors: Corrupt, Unsupported (names other files, encrypted, version), Unavailable (Limits::logical_bytes)
Result<std::uint64_t> check_qcow(std::string_view header, const Limits& limits);

/// The disk as an unnamed raw file, by the program qemu-img.
///
/// Such an image may name any file of this machine as its content, and its owner may change it at any time. So first it
/// is copied, to where nobody else can write (for nothing where the file system shares blocks), then the copy's header
/// is checked, and qemu-img reads the copy. An image may also give the same few bytes a million times: what the raw
/// file takes is watched, within Limits::free_bytes and Limits::ratio. Errors: as check_qcow; Unavailable (a bomb, disk
/// full, stopped), NotFound (qemu-img), Os (its last words). Blocks
Result<os::Fd> convert_qcow(const os::Fd& image, const Context& context);

} // namespace coppice::imports
