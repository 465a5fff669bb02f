#pragma once

#include "coppice/os/fd.h"

#include <string>

namespace coppice::vdisk {

/// os::map_mount_ids, with the path and what helps in its error.
Result<> map_layer(const os::Fd& mount, const os::Fd& user_namespace, const std::string& path);

} // namespace coppice::vdisk
