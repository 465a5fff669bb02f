#pragma once

#include "coppice/import/context.h"
#include "coppice/vdisk/layer_writer.h"
#include "coppice/vdisk/tree.h"

#include <string_view>

namespace coppice::exports {

struct TarOptions {
    std::string_view
        path; ///< what to write: from the root, "/" between names, "" being everything. Links are not followed
    enum class Form : unsigned char {
        Archive, ///< for tar programs: holes stay holes (GNU's sparse form 1.0), ACLs are SCHILY.acl.*, numeric
        Layer,   ///< of an image, as engines read it: holes are zeros, ACLs extended attributes as the kernel has them;
                 ///< no names that would be whiteouts
    };
    Form form = Form::Archive;
    bool devices = true; ///< else device nodes are left out
};

/// Writes a tree as a pax archive, names relative to the parent of `path`, in byte order, directories before what is in
/// them; the same tree gives the same bytes. Names, numbers and times of any size, nanoseconds, hard links, device
/// nodes, extended attributes (SCHILY.xattr.*), ACLs. Sockets are left out, as GNU tar does.
/// @param tree without whiteouts, as merge_trees gives it for a whole, and sorted
/// Errors: NotFound (`path`), Unsupported (see Form::Layer), those of content and of `out`. Blocks. Any thread
/// Source: POSIX.1-2017 pax; GNU tar manual, "Sparse Formats"
Result<> write_tar(const vdisk::Tree& tree, const TarOptions& options, vdisk::ByteSink& out,
                   const imports::Context& context);

} // namespace coppice::exports
