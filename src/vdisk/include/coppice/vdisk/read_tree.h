#pragma once

#include "coppice/vdisk/tree.h"

namespace coppice::vdisk {

struct ScanOptions {
    enum class Form : unsigned char {
        Plain,        ///< a whole tree: overlayfs's marks have no business in it
        OverlayUpper, ///< an upper directory in the trusted form: whiteouts and opaque directories are kept
    };
    Form form = Form::Plain;
    bool cross_mounts = false; ///< else what is mounted over a directory or file is left out: an empty one is there
};

/// Lists a directory tree, with owners, modes, times, extended attributes, ACLs, hard links and device nodes.
///
/// Follows no link and never leaves the directory. Content is not read now but when the tree is written, so the files
/// must stay as they are until then; what changes meanwhile is reported when it is read.
/// `trusted.*` attributes are dropped, but for the opaque mark of Form::OverlayUpper. Whiteouts get their one form.
///
/// @param directory borrowed; O_RDONLY. A duplicate lives as long as the tree
/// Errors: Invalid (whiteouts in the plain form), Unsupported (metacopy, redirects, attributes that no layer can hold),
/// Conflict (the tree changed while it was listed), Unavailable (limits of the format). Blocks. Any thread. Needs /proc
Result<Tree> read_tree(const os::Fd& directory, ScanOptions options = {});

} // namespace coppice::vdisk
