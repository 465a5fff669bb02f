#pragma once

#include "coppice/storage/storage.h"
#include "coppice/store/usage.h"
#include "coppice/store/vdisk.h"
#include "coppice/vdisk/tree_stack.h"

#include <nlohmann/json.hpp>
#include <vector>

/// The storage's things as docs/reference/openapi.json has them.
namespace coppice::daemon {

Result<nlohmann::json> vdisk_json(const store::View& view, const store::Vdisk& vdisk);
nlohmann::json version_json(const store::Version& version);
/// A list, with what names them: tags, versions, branches.
Result<std::string> snapshots_text(const store::View& view, const std::vector<store::Snapshot>& snapshots);
Result<nlohmann::json> snapshot_json(const store::View& view, const store::Snapshot& snapshot);
/// And what else is known of one.
Result<nlohmann::json> snapshot_details_json(const store::View& view, const store::Snapshot& snapshot);
/// Details without what a Snapshot does not have.
nlohmann::json plain_snapshot(nlohmann::json details);
Result<nlohmann::json> branch_json(const store::View& view, const store::Working& branch,
                                   const std::vector<vdisk::MountRecord>& mounts);
nlohmann::json mount_json(const vdisk::MountRecord& mount);
nlohmann::json change_json(const vdisk::Change& change);
nlohmann::json usage_json(const store::Usage& usage);

} // namespace coppice::daemon
