#pragma once

#include "coppice/export/export_snapshot.h"
#include "coppice/vdisk/layer_writer.h"

#include <functional>
#include <string>
#include <vector>

namespace coppice::exports {

struct ArchivePart {
    std::string name;
    std::function<Result<>(vdisk::ByteSink&)> write;
};

/// Writes an archive that imports::read_archive takes: docs/format/instance-archive.md. As export_snapshot: under the
/// given name there is nothing or all of it. Every part goes through an unnamed file in Context::spool, for its size
/// and digest come first. Errors: those of export_snapshot for files, and of the parts
Result<Exported> write_archive(const std::string& path, const std::vector<ArchivePart>& parts, const Context& context);

} // namespace coppice::exports
