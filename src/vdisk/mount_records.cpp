#include "mount_records.h"

#include "coppice/base/json.h"
#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/os/features.h"
#include "coppice/os/file.h"
#include "coppice/os/mount.h"
#include "overlay.h"

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

namespace coppice::vdisk {

namespace {

constexpr const char* kDirectory = "mounts";
constexpr std::string_view kSuffix = ".json";

std::string file_of(const std::string& id) { return cat(kDirectory, '/', id, kSuffix); }

Result<FoundRecord> read_record(const store::Store& store, const std::string& id, const std::string& boot)
{
    const auto document = TRY(parse_json(TRY(os::read_file(store.directory(), file_of(id)))));
    const JsonNode node{document};
    FoundRecord found{.record = {.id = id}};
    const auto path = TRY(node.get("path"));
    found.record.path = TRY(path.text());
    const auto snapshot = TRY(node.get("snapshot"));
    found.record.snapshot = TRY(store::SnapshotId::parse(TRY(snapshot.text())));
    found.record.working = TRY(node.text_or("working", ""));
    found.record.devices = TRY(node.boolean_or("devices", false));
    found.record.set_uid = TRY(node.boolean_or("set_uid", false));
    found.record.how = TRY(node.text_or("how", ""));
    found.record.device = TRY(TRY(node.get("device")).unsigned_integer());
    if (const auto replaces = TRY(node.find("replaces"))) found.record.replaces = TRY(replaces->unsigned_integer());
    if (TRY(TRY(node.get("boot")).text()) != boot) return found;
    const auto status = TRY(os::find_status(os::kCwd, found.record.path, false));
    found.mounted = status && (status->st_dev == found.record.device ||
                               (found.record.replaces != 0 && status->st_dev == found.record.replaces));
    found.of_this_boot = true;
    return found;
}

/// A working layer that something else covers, or that is left at another place, still has a writer.
Result<bool> is_left_elsewhere(const FoundRecord& found, const std::vector<FoundRecord>& all)
{
    if (found.mounted || !found.of_this_boot || found.record.working.empty()) return false;
    const auto places = TRY(os::find_mounts(found.record.device, source_of(found.record.snapshot)));
    // Numbers of devices are given again: the place may be that of a later mount.
    return std::any_of(places.begin(), places.end(), [&](const os::MountPlace& place) {
        return std::none_of(all.begin(), all.end(), [&](const FoundRecord& other) {
            return other.mounted && other.record.path == place.text();
        });
    });
}

} // namespace

Result<> write_mount_record(const store::Store& store, const MountRecord& record)
{
    if (!os::exists(store.directory(), kDirectory)) TRY(os::make_directory(store.directory(), kDirectory, 0700));
    const auto boot = TRY(os::boot_id());
    const nlohmann::json document{
        {"path", record.path},       {"snapshot", record.snapshot.hex()}, {"working", record.working},
        {"devices", record.devices}, {"set_uid", record.set_uid},         {"how", record.how},
        {"device", record.device},   {"replaces", record.replaces},       {"boot", boot}};
    return os::replace_file(store.directory(), file_of(record.id),
                            document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

Result<> remove_mount_record(const store::Store& store, const std::string& id)
{
    return os::remove_file(store.directory(), file_of(id));
}

Result<std::vector<FoundRecord>> read_mount_records(const store::Store& store)
{
    std::vector<FoundRecord> found;
    if (!os::exists(store.directory(), kDirectory)) return found;
    const auto boot = TRY(os::boot_id());
    for (const std::string& file : TRY(os::list_directory(store.directory(), kDirectory))) {
        if (!file.ends_with(kSuffix)) continue; // a half-written one
        const std::string id = file.substr(0, file.size() - kSuffix.size());
        auto record = read_record(store, id, boot);
        if (record) {
            found.push_back(*std::move(record));
            continue;
        }
        if (record.error().os_errno() == ENOENT) continue; // just removed
        // A power cut may have left a file without its content; the mount went with it.
        log::warn("vdisk", "the record of a mount cannot be read", {{"file", file}, {"error", record.error().line()}});
        found.push_back({.record = {.id = id}});
    }
    std::vector<bool> left;
    left.reserve(found.size());
    for (const FoundRecord& one : found)
        left.push_back(TRY(is_left_elsewhere(one, found)));
    for (std::size_t i = 0; i < found.size(); ++i)
        found[i].mounted = found[i].mounted || left[i];
    return found;
}

} // namespace coppice::vdisk
