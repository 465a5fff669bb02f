#include "storage_json.h"

#include "coppice/base/json.h"
#include "coppice/base/json_text.h"
#include "coppice/base/text.h"

#include <algorithm>
#include <map>

namespace coppice::daemon {

namespace {

using nlohmann::json;

void append_text(std::string& to, std::string_view text)
{
    const bool is_plain =
        std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c < '\x7f' && c != '"' && c != '\\'; });
    if (is_plain)
        to.append(1, '"').append(text).append(1, '"');
    else
        to += json_quote(text);
}

template <typename T> void append_hex(std::string& to, const std::optional<T>& id)
{
    if (id)
        to.append(1, '"').append(id->hex()).append(1, '"');
    else
        to += "null";
}

/// What names snapshots. Built once for many.
class Names {
public:
    static Result<Names> read(const store::View& view)
    {
        Names names;
        for (const store::Vdisk& vdisk : TRY(store::all_vdisks(view))) {
            names.vdisks_[vdisk.id] = vdisk.name;
            for (const store::Tag& tag : TRY(store::tags(view, vdisk.id)))
                names.tags_[tag.snapshot].push_back(tag.name);
            for (const store::Version& version : TRY(store::versions(view, vdisk.id)))
                names.versions_[version.snapshot].push_back(version.number);
        }
        for (const store::Working& branch : TRY(store::all_working(view)))
            names.branches_[branch.snapshot].push_back(branch.name);
        return names;
    }

    /// As text at once: a list may have ten thousand of them.
    void append(std::string& to, const store::Snapshot& snapshot) const
    {
        to += cat(R"({"id":")", snapshot.id.hex(), R"(","vdisk":)");
        append_text(to, vdisks_.at(snapshot.vdisk));
        append_hex(to += R"(,"parent":)", snapshot.parent);
        to += cat(R"(,"state":")", store::to_text(snapshot.state), R"(","seq":)", snapshot.seq, R"(,"created":")",
                  store::to_rfc3339(snapshot.created), R"(","bytes":)", snapshot.bytes, R"(,"author":)");
        append_text(to, snapshot.author);
        append_text(to += R"(,"message":)", snapshot.message);
        append_hex(to += R"(,"layer":)", snapshot.layer);
        append_hex(to += R"(,"manifest":)", snapshot.manifest);
        append_list(to += R"(,"tags":)", tags_, snapshot.id);
        append_list(to += R"(,"versions":)", versions_, snapshot.id);
        append_list(to += R"(,"branches":)", branches_, snapshot.id);
        to += '}';
    }

private:
    template <typename Lists>
    static void append_list(std::string& to, const Lists& lists, const store::SnapshotId& snapshot)
    {
        const auto found = lists.find(snapshot);
        to += found == lists.end() ? "[]" : json_text(found->second); // most have none
    }
    std::map<store::VdiskId, std::string> vdisks_;
    std::map<store::SnapshotId, std::vector<std::string>> tags_, branches_;
    std::map<store::SnapshotId, std::vector<std::uint64_t>> versions_;
};

std::string_view word_of(vdisk::Change::Kind kind)
{
    switch (kind) {
    case vdisk::Change::Kind::Added: return "added";
    case vdisk::Change::Kind::Removed: return "removed";
    case vdisk::Change::Kind::Content: return "content";
    case vdisk::Change::Kind::Attributes: return "attributes";
    case vdisk::Change::Kind::Type: return "type";
    }
    return "";
}

} // namespace

json version_json(const store::Version& version)
{
    return {{"number", version.number},
            {"snapshot", version.snapshot.hex()},
            {"state", store::to_text(version.state)},
            {"scheduled", version.scheduled ? json(store::to_rfc3339(*version.scheduled)) : json(nullptr)},
            {"pinned", version.pinned},
            {"created", store::to_rfc3339(version.created)}};
}

Result<json> vdisk_json(const store::View& view, const store::Vdisk& vdisk)
{
    json versions = json::array(), tags = json::array(), pinned = nullptr;
    for (const store::Version& version : TRY(store::versions(view, vdisk.id))) {
        versions.push_back(version_json(version));
        if (version.pinned) pinned = version.number;
    }
    for (const store::Tag& tag : TRY(store::tags(view, vdisk.id)))
        tags.push_back({{"name", tag.name}, {"snapshot", tag.snapshot.hex()}});
    const auto standard = TRY(store::default_version(view, vdisk.id, store::now()));
    return json{{"id", vdisk.id.hex()},
                {"name", vdisk.name},
                {"created", store::to_rfc3339(vdisk.created)},
                {"seq", vdisk.seq},
                {"epoch", vdisk.epoch},
                {"default", standard ? json(standard->number) : json(nullptr)},
                {"pinned", std::move(pinned)},
                {"versions", std::move(versions)},
                {"tags", std::move(tags)}};
}

Result<std::string> snapshots_text(const store::View& view, const std::vector<store::Snapshot>& snapshots)
{
    const auto names = TRY(Names::read(view));
    std::string text;
    text.reserve(512 * snapshots.size() + 2); // about
    text += '[';
    for (const store::Snapshot& snapshot : snapshots) {
        if (text.size() > 1) text += ',';
        names.append(text, snapshot);
    }
    text += ']';
    return text;
}

Result<json> snapshot_json(const store::View& view, const store::Snapshot& snapshot)
{
    std::string text;
    TRY(Names::read(view)).append(text, snapshot);
    return parse_json(text);
}

Result<json> snapshot_details_json(const store::View& view, const store::Snapshot& snapshot)
{
    auto details = TRY(snapshot_json(view, snapshot));
    const auto usage = TRY(store::snapshot_usage(view, snapshot.id));
    const auto config = TRY(store::config_of(view, snapshot.id));
    details["config"] = config.empty() ? json(nullptr) : TRY(parse_json(config));
    details["dependents"] = TRY(store::dependents(view, snapshot.id));
    details["own_bytes"] = usage.own_bytes;
    details["shared_bytes"] = usage.shared_bytes;
    details["depth"] = snapshot.depth;
    return details;
}

json plain_snapshot(json details)
{
    for (const char* const more : {"config", "dependents", "own_bytes", "shared_bytes", "depth"})
        details.erase(more);
    return details;
}

Result<json> branch_json(const store::View& view, const store::Working& branch,
                         const std::vector<vdisk::MountRecord>& mounts)
{
    const auto snapshot = TRY(store::get_snapshot(view, branch.snapshot));
    const auto vdisk = TRY(store::get_vdisk(view, snapshot.vdisk));
    json paths = json::array();
    for (const vdisk::MountRecord& mount : mounts)
        if (mount.working == branch.name) paths.push_back(mount.path);
    return json{{"name", branch.name},
                {"snapshot", branch.snapshot.hex()},
                {"vdisk", vdisk.name},
                {"created", store::to_rfc3339(branch.created)},
                {"mounts", std::move(paths)}};
}

json mount_json(const vdisk::MountRecord& mount)
{
    return {{"id", mount.id},
            {"path", mount.path},
            {"snapshot", mount.snapshot.hex()},
            {"branch", mount.working.empty() ? json(nullptr) : json(mount.working)},
            {"devices", mount.devices},
            {"setuid", mount.set_uid},
            {"how", mount.how}};
}

json change_json(const vdisk::Change& change)
{
    return {{"kind", word_of(change.kind)}, {"path", change.path},           {"old_mode", change.old_mode},
            {"new_mode", change.new_mode},  {"old_bytes", change.old_bytes}, {"new_bytes", change.new_bytes}};
}

json usage_json(const store::Usage& usage)
{
    json vdisks = json::array();
    for (const store::VdiskUsage& vdisk : usage.vdisks)
        vdisks.push_back({{"name", vdisk.name},
                          {"snapshots", vdisk.snapshots},
                          {"own_bytes", vdisk.own_bytes},
                          {"shared_bytes", vdisk.shared_bytes},
                          {"shared_with", vdisk.shared_with}});
    return {{"vdisks", std::move(vdisks)},
            {"stored_bytes", usage.stored_bytes},
            {"plain_bytes", usage.plain_bytes},
            {"trash_bytes", usage.trash_bytes},
            {"unused_bytes", usage.unused_bytes},
            {"pack_bytes", usage.pack_bytes},
            {"metadata_bytes", usage.metadata_bytes},
            {"chunks", usage.chunks}};
}

} // namespace coppice::daemon
