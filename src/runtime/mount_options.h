#pragma once

#include "coppice/base/result.h"
#include "coppice/os/mount.h"

#include <cstdint>
#include <string>
#include <vector>

namespace coppice::runtime {

/// The options of one OCI mount, sorted into what the kernel takes where. Source: config.md "Linux mount options"
struct MountOptions {
    bool bind = false, recursive_bind = false;
    std::uint64_t set = 0, clear = 0;                     ///< MOUNT_ATTR_*
    std::uint64_t recursive_set = 0, recursive_clear = 0; ///< of the r-forms such as "rro"
    std::uint64_t propagation = 0;                        ///< MS_*, 0: none asked for
    bool recursive_propagation = false;
    bool remount = false;          ///< no new mount: what is there already gets these options
    bool copy_up = false;          ///< "tmpcopyup": a tmpfs begins with what it covers
    bool recursive_id_map = false; ///< "ridmap"
    bool id_map = false;           ///< "idmap": with the container's own user namespace
    os::FsParameters parameters;   ///< the file system's own options
};

/// What is no option of mounts in general is taken for one of the file system: the kernel judges it.
MountOptions parse_mount_options(const std::vector<std::string>& options, bool is_bind_type);

/// Every option that `parse_mount_options` acts on by itself, in alphabetical order.
std::vector<std::string> known_mount_options();

} // namespace coppice::runtime
