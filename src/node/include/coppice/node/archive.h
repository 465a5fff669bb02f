#pragma once

#include "coppice/export/export_snapshot.h"
#include "coppice/node/instances.h"

#include <string>
#include <vector>

/// An instance as one file that another machine can run. See docs/format/instance-archive.md
namespace coppice::node {

struct ExportWish {
    std::string name;
    std::string path;          ///< where to; absolute
    std::string author;        ///< of the snapshot that is made of what it holds
    bool with_volumes = false; ///< directories of the host that it has inside go along
};
struct ExportedInstance {
    exports::Exported file;
    store::SnapshotId snapshot;        ///< whose content it is
    std::vector<std::string> left_out; ///< what is of this machine: "volume /data", "device /dev/fuse"
};
/// Of one that runs: its content as Instances::snapshot takes it; its volumes as they are read.
/// Errors: NotFound, Conflict (the path is there), Invalid (it is on no vdisk), those of exports. Blocks
Result<ExportedInstance> export_instance(Instances& instances, storage::Storage& storage, const ExportWish& wish,
                                         const imports::Context& context);

struct ImportWish {
    std::string path; ///< absolute
    std::string name; ///< empty: the one that it had
    std::string author;
    bool keep_privileges = false; ///< more capabilities, other filters and profiles than usual are what it says
};
struct ImportedInstance {
    std::string name;
    std::string root; ///< version that its branch begins on, "web-image:1"
    store::SnapshotId snapshot;
    std::vector<std::string> left_out; ///< "capability CAP_SYS_ADMIN", "seccomp filter", "apparmor profile x"
};
/// Makes a version of a new vdisk NAME-image, unless some vdisk has the same content from such a file already, and an
/// instance on it that has not run. Everything is compared with the list in the file before anything is made.
/// Errors: Corrupt, Unsupported (the file), Conflict (a name is taken), NotFound, those of imports. Blocks
Result<ImportedInstance> import_instance(Instances& instances, storage::Storage& storage, const ImportWish& wish,
                                         const imports::Context& context);

} // namespace coppice::node
