#include "coppice/base/json.h"
#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/lock.h"
#include "coppice/runtime/control.h"
#include "resources.h"
#include "scope.h"
#include "spec_parts.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace coppice::runtime {

using nlohmann::json;

namespace {

/// Of its own, so that a deletion meanwhile is not told that somebody else deletes.
constexpr const char* kUpdateLock = "update.lock";

/// What an entry of a list is about.
json key_of(const json& entry)
{
    json key = json::object();
    for (const char* const name : {"major", "minor", "pageSize", "name"})
        if (entry.is_object() && entry.contains(name)) key[name] = entry[name];
    return key;
}

void merge_list(json& list, const json& changes)
{
    for (const json& entry : changes) {
        const auto same =
            std::find_if(list.begin(), list.end(), [&](const json& other) { return key_of(other) == key_of(entry); });
        if (same != list.end() && entry.is_object() && same->is_object())
            same->update(entry);
        else
            list.push_back(entry);
    }
}

/// The container's own resources with every update so far.
Result<json> present_resources(const ContainerDirectory& directory, const StateRecord& record)
{
    if (!record.resources.empty()) return parse_json(record.resources);
    const auto config = TRY(parse_json(TRY(directory.read_config())));
    const auto path = json::json_pointer{"/linux/resources"};
    json resources = config.contains(path) && config[path].is_object() ? config[path] : json::object();
    resources.erase("devices");
    return resources;
}

/// Members that the kernel accepts only together.
void complete(json& changes)
{
    // No limit of memory means none of memory and swap together either.
    const auto memory = changes.find("memory");
    if (memory != changes.end() && memory->is_object() && memory->value("limit", json{}) == -1 &&
        memory->value("swap", json{0}) == 0)
        (*memory)["swap"] = -1;
}

} // namespace

void merge_resources(json& resources, const json& changes)
{
    if (!resources.is_object()) resources = json::object();
    for (const auto& [name, value] : changes.items()) {
        const bool zero_counts = name == "idle" || name == "burst" || name == "swappiness";
        if (value.is_object())
            merge_resources(resources[name], value);
        else if (value.is_array() && resources.contains(name) && resources[name].is_array())
            merge_list(resources[name], value);
        else if (value.is_null() || value == "" || value == false || (value == 0 && !zero_counts))
            continue;
        else
            resources[name] = value;
    }
}

Result<> update(const StateRoot& root, const std::string& id, std::string_view resources)
{
    auto changes = TRY_DOING("resources", parse_json(resources));
    if (!changes.is_object()) return fail(ErrorKind::Invalid, "resources: must be an object");
    changes.erase("devices");
    complete(changes);
    const auto limits = TRY(parse_limits(JsonNode{changes, "resources"}));

    const auto directory = TRY(root.find(id));
    const auto lock = TRY(os::FileLock::take(directory.fd().get(), kUpdateLock));
    auto record = TRY(directory.read_state());
    TRY(need_cgroup(record));
    const auto status = TRY(status_of(directory, record));
    if (status == Status::Stopped || status == Status::Creating)
        return fail(ErrorKind::Conflict, cat("cannot update ", id, ": container not running but ", to_word(status)));
    auto merged = TRY(present_resources(directory, record));
    const auto before = merged;
    merge_resources(merged, changes);
    const auto all = TRY_DOING("together with the present limits", parse_limits(JsonNode{merged, "resources"}));
    // Remembered before it is made: whatever comes, a deletion takes it away.
    auto paths = TRY_DOING(cat("update container ", id), os::plan_update(record.cgroup, limits));
    if (paths != record.cgroup) {
        record.cgroup = std::move(paths);
        TRY(directory.write_state(record));
    }
    // systemd first: it may write the files of other limits again.
    TRY_DOING(cat("update container ", id), set_scope_properties(record, limits, all));
    if (auto updated = os::update_limits(record.cgroup, limits, all); !updated) {
        const auto present = parse_limits(JsonNode{before, "resources"});
        if (const auto back = present ? set_scope_properties(record, *present, *present) : Result<>{}; !back)
            log::warn("update", cat("systemd keeps the new limits: ", back.error().line()));
        return fail(std::move(updated).error().with(cat("update container ", id)));
    }
    record.resources = merged.dump(-1, ' ', false, json::error_handler_t::replace);
    return directory.write_state(record);
}

} // namespace coppice::runtime
