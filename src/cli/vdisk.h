#pragma once

#include "command.h"
#include "listing.h"

/// The parts of `coppice vdisk`, each declared by the file that has it.
namespace coppice::cli {

void add_vdisk_import(CLI::App& group, Command& chosen); ///< import, capture
void add_vdisk_export(CLI::App& group, Command& chosen);
void add_vdisk_lists(CLI::App& group, Command& chosen);    ///< ls, show, rename, rm
void add_vdisk_versions(CLI::App& group, Command& chosen); ///< versions, publish, promote, schedule, pin, unpin, merge
void add_vdisk_mounts(CLI::App& group, Command& chosen);   ///< mount, umount, mounts

const std::vector<Column>& version_columns();
/// The name of a version that was made: debian:4; all of it as JSON.
Result<int> print_version(const std::string& vdisk, const nlohmann::json& version, const std::string& format);

} // namespace coppice::cli
