#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/mount.h"
#include "coppice/runtime/root_source.h"

namespace coppice::runtime {

Result<os::Fd> BundleRoot::attach(const os::Fd&)
{
    const auto status = TRY_DOING("root file system", os::find_status(os::kCwd, path_));
    if (!status) return fail(ErrorKind::NotFound, cat("root file system: ", path_, " does not exist"));
    if (!S_ISDIR(status->st_mode))
        return fail(ErrorKind::Invalid, cat("root file system: ", path_, " is not a directory"));
    return with_context(os::clone_mount(os::kCwd, path_, true), "root file system");
}

} // namespace coppice::runtime
