#pragma once

#include "coppice/import/context.h"
#include "coppice/vdisk/tree.h"

namespace coppice::imports {

/// What a source becomes before it is a layer.
struct Imported {
    vdisk::Tree tree;
    std::string config;       ///< OCI image configuration as JSON, or empty
    std::vector<os::Fd> held; ///< mounts that the content is read from
};

/// Which image of several.
struct ImageChoice {
    std::string reference;    ///< a name or tag that the index gives; empty: there must be one only
    std::string architecture; ///< in OCI's words, such as "amd64"; empty: this machine's
};

/// A directory of this machine, without what is mounted below it. Content is read when the layer is written.
/// Errors: those of vdisk::read_tree, NotFound, Unavailable (Limits, stopped). Blocks. Any thread
Result<Imported> import_directory(const std::string& path, const Context& context);

/// A tar archive: plain or packed by gzip, zstd or xz; V7, ustar, pax and GNU, with holes, hard links, device nodes,
/// extended attributes and ACLs. An archive that is an image (OCI layout, docker-archive) becomes that image.
///
/// The content of a plain archive in a file is read in place when the layer is written; any other goes through an
/// unnamed file in Context::spool. Memory: the tree, and 150 MiB at most.
/// @param archive any file that can be read, also a pipe
/// @param name for messages
/// @param choice of the image in it, if it is one
/// Errors: Corrupt (no or a damaged archive), Invalid (hostile names, links, whiteouts), Unavailable (Limits), each
/// naming the entry; those of read_image. Blocks. Any thread
Result<Imported> import_tar(os::Fd archive, const std::string& name, const ImageChoice& choice, const Context& context);

} // namespace coppice::imports
