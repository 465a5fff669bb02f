#pragma once

#include "coppice/import/tree_import.h"

#include <optional>

namespace coppice::imports {

/// Where a vdisk comes from.
struct Source {
    enum class Kind : unsigned char { Directory, Archive, Layout, Disk, Registry, Suite, Machine };
    Kind kind = Kind::Directory;
    std::string location;  ///< path; image reference; suite; [user@]host[:port], empty for this machine
    std::string reference; ///< Archive and Layout: which image; Suite: the distribution
};

struct SourceOptions {
    std::string architecture;                   ///< of images, in OCI's words; empty: this machine's
    std::string authfile;                       ///< for a registry
    bool plain_http = false;                    ///< for a registry
    std::optional<unsigned> partition;          ///< of a disk
    std::string mirror;                         ///< for a suite
    std::vector<std::string> file_systems{"/"}; ///< of a machine
};

/// What a user wrote:
///   dir:PATH  tar:PATH  oci:PATH[:REFERENCE]  docker-archive:PATH[:REFERENCE]  disk:PATH
///   docker://REFERENCE  debian:SUITE  ubuntu:SUITE  machine:  ssh://[USER@]HOST[:PORT]
/// and anything else is a path, whose kind its content tells. Blocks on the file system. Errors: NotFound, Invalid
Result<Source> parse_source(const std::string& text);

/// Reads it. Errors: of the functions that it calls: import_directory, import_tar, read_image, import_disk,
/// import_registry, import_suite, import_machine; Invalid (an archive that is no file). Blocks, up to hours. Any thread
Result<Imported> read_source(const Source& source, const SourceOptions& options, const Context& context);

} // namespace coppice::imports
