#pragma once

#include "coppice/vdisk/tree.h"

#include <functional>

namespace coppice::vdisk {

/// How far listing has come, with the entry that is next.
struct Scanned {
    std::string_view path;
    std::size_t depth = 0;        ///< components of `path`
    std::uint64_t entries = 0;    ///< this one included
    std::uint64_t file_bytes = 0; ///< of all files, holes counted, this one included
    std::size_t text_bytes = 0;   ///< Tree::text_bytes, without this one
};

struct ScanOptions {
    enum class Form : unsigned char {
        Plain,        ///< a whole tree: overlayfs's marks have no business in it
        OverlayUpper, ///< an upper directory in the trusted form: whiteouts and opaque directories are kept
    };
    Form form = Form::Plain;
    bool cross_mounts = false; ///< else what is mounted over a directory or file is left out: an empty one is there
    /// Asked before each entry becomes a part of the tree; its error ends the listing.
    std::function<Result<>(const Scanned&)> check = [](const Scanned&) { return Result<>{}; };
};

/// Lists a directory tree, with owners, modes, times, extended attributes, ACLs, hard links and device nodes.
///
/// Follows no link and never leaves the directory. Content is not read now but when the tree is written, so the files
/// must stay as they are until then; what changes meanwhile is reported when it is read.
/// `trusted.*` attributes are dropped, but for the opaque mark of Form::OverlayUpper. Whiteouts get their one form.
///
/// @param directory borrowed; O_RDONLY. A duplicate lives as long as the tree
/// Errors: Invalid (whiteouts in the plain form), Unsupported (metacopy, redirects, attributes that no layer can hold),
/// Conflict (the tree changed while it was listed), Unavailable (limits of the format), those of `check`. Blocks. Any
/// thread. Needs /proc
Result<Tree> read_tree(const os::Fd& directory, ScanOptions options = {});

} // namespace coppice::vdisk
