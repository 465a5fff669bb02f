#pragma once

#include "coppice/api/client.h"
#include "diff_text.h"

namespace coppice::cli {

/// Where the two contents of a changed file are to be had: targets that "?path=" goes behind.
struct PatchSides {
    std::string old_files, new_files; ///< "/v1/snapshots/debian/files"
};

/// Writes a patch that `git apply` and `patch -p1` take to standard output. Of files that are no text, or larger than
/// 16 MiB, it says only that they differ. Errors: of the daemon; NotFound (there is no program `diff`)
Result<> print_patch(const api::Client& client, const PatchSides& sides, const FileChanges& diff, const Paint& paint);

} // namespace coppice::cli
