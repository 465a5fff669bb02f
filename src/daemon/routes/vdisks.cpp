#include "coppice/base/json.h"
#include "coppice/base/json_text.h"
#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/base/units.h"
#include "coppice/import/import_image.h"
#include "coppice/storage/reference.h"
#include "storage.h"
#include "storage_json.h"

#include <algorithm>
#include <array>
#include <set>

namespace coppice::daemon {

namespace {

using nlohmann::json;

std::string path_of(const std::string& vdisk) { return cat("/v1/vdisks/", vdisk); }

Result<store::VersionState> parse_state(const std::string& word)
{
    for (const auto state :
         {store::VersionState::Maintenance, store::VersionState::Test, store::VersionState::Production})
        if (word == store::to_text(state)) return state;
    return fail(ErrorKind::Invalid, cat("'", printable(word), "' is no state: maintenance, test or production is one"));
}

Look vdisk_now(const Request& request)
{
    return [&](const store::View& view) -> Result<json> {
        return vdisk_json(view, TRY(store::get_vdisk(view, request.param("name"))));
    };
}

Result<std::uint64_t> number_of(const Request& request)
{
    const auto number = parse_integer(request.param("number"), 1, INT64_MAX);
    if (number) return static_cast<std::uint64_t>(*number);
    return fail(ErrorKind::NotFound, cat("there is no version ", printable(request.param("number"))));
}

Result<Reply> list_vdisks(const StorageApiPtr& api, const Request&)
{
    auto list = TRY(api->store().read([](const store::View& view) -> Result<json> {
        json all = json::array();
        for (const store::Vdisk& vdisk : TRY(store::all_vdisks(view)))
            all.push_back(TRY(vdisk_json(view, vdisk)));
        return all;
    }));
    return with_etag(std::move(list));
}

Result<Reply> get_vdisk(const StorageApiPtr& api, const Request& request)
{
    return with_etag(TRY(api->store().read(vdisk_now(request))));
}

// --- import

struct ImportRequest {
    imports::Source source;
    imports::SourceOptions source_options;
    imports::ImportOptions options;
};

Result<ImportRequest> parse_import(const Request& request)
{
    TRY(check_members(request.body, {"name", "source", "message", "architecture", "authfile", "plain_http", "partition",
                                     "mirror", "file_systems", "state", "threads"}));
    const JsonNode body{request.body};
    ImportRequest wanted;
    wanted.options.vdisk = TRY(TRY(body.get("name")).text());
    wanted.options.author = author_of(request);
    wanted.options.message = TRY(body.text_or("message", ""));
    wanted.options.threads = static_cast<unsigned>(TRY(body.find_integer("threads", 0, 1024)).value_or(0));
    const auto state = TRY(body.text_or("state", ""));
    if (!state.empty()) wanted.options.state = TRY(parse_state(state));
    wanted.source_options.architecture = TRY(body.text_or("architecture", ""));
    wanted.source_options.authfile = TRY(body.text_or("authfile", ""));
    wanted.source_options.plain_http = TRY(body.boolean_or("plain_http", false));
    wanted.source_options.mirror = TRY(body.text_or("mirror", ""));
    if (const auto number = TRY(body.find_integer("partition", 1, 128)))
        wanted.source_options.partition = static_cast<unsigned>(*number);
    auto file_systems = TRY(body.texts_or_none("file_systems"));
    if (!file_systems.empty()) wanted.source_options.file_systems = std::move(file_systems);
    const auto source = TRY(TRY(body.get("source")).text());
    wanted.source = TRY(imports::parse_source(source)); // last: it looks whether there is such a thing
    return wanted;
}

Result<json> run_import(const StorageApi& api, const ImportRequest& wanted, OperationContext& operation)
{
    const auto made = TRY(imports::import_image(api.store(), wanted.source, wanted.source_options, wanted.options,
                                                import_context(operation)));
    api.storage->wake();
    api.tell("vdisk.imported", path_of(wanted.options.vdisk),
             {{"version", made.number}, {"snapshot", made.snapshot.hex()}});
    return json{{"vdisk", wanted.options.vdisk},
                {"snapshot", made.snapshot.hex()},
                {"version", made.number},
                {"files", made.size.inodes},
                {"bytes", made.size.file_bytes},
                {"metadata_bytes", made.size.metadata_bytes},
                {"blob_bytes", made.size.blob_bytes},
                {"chunks", made.size.chunks},
                {"new_chunks", made.ingest.new_chunks},
                {"new_stored_bytes", made.ingest.new_stored_bytes}};
}

Result<Reply> import_vdisk(const StorageApiPtr& api, const Request& request)
{
    auto wanted = TRY(parse_import(request));
    if (const auto key = request_key(request)) {
        wanted.options.key = key->key;
        wanted.options.fingerprint = key->fingerprint;
    }
    const std::string subject = path_of(wanted.options.vdisk);
    return begin(api, "vdisk.import", subject,
                 [api, wanted = std::move(wanted)](OperationContext& operation) mutable -> Result<json> {
                     if (wanted.options.key.empty()) wanted.options.key = cat("import ", operation.id());
                     return run_import(*api, wanted, operation);
                 });
}

// --- the vdisk itself

Result<Reply> rename_vdisk(const StorageApiPtr& api, const Request& request)
{
    TRY(check_members(request.body, {"name"}));
    const auto name = TRY(TRY(JsonNode{request.body}.get("name")).text());
    const auto rename = [&](store::Txn& txn) -> Result<json> {
        auto vdisk = TRY(store::get_vdisk(txn, request.param("name")));
        if (TRY(store::find_working(txn, name))) return fail(ErrorKind::Conflict, cat("a branch is named ", name));
        TRY(store::rename_vdisk(txn, vdisk.id, name));
        vdisk.name = name;
        return vdisk_json(txn, vdisk);
    };
    return change_if(*api, request, vdisk_now(request), rename, [&](json renamed) {
        api->tell("vdisk.renamed", path_of(name), {{"old", request.param("name")}});
        return with_etag(std::move(renamed));
    });
}

/// Branches that stand on its snapshots.
Result<std::vector<std::string>> branches_of(const store::View& view, const store::VdiskId& vdisk)
{
    std::vector<std::string> names;
    for (const store::Working& branch : TRY(store::all_working(view)))
        if (TRY(store::get_snapshot(view, branch.snapshot)).vdisk == vdisk) names.push_back(branch.name);
    return names;
}

/// All that its name stands for, in one transaction.
Result<> remove_rows(store::Txn& txn, const store::Vdisk& vdisk)
{
    TRY(store::unpin_version(txn, vdisk.id));
    for (const store::Version& version : TRY(store::versions(txn, vdisk.id)))
        TRY(store::remove_version(txn, vdisk.id, version.number));
    for (const store::Tag& tag : TRY(store::tags(txn, vdisk.id)))
        TRY(store::remove_tag(txn, vdisk.id, tag.name));
    for (const store::Snapshot& snapshot : TRY(store::log(txn, vdisk.id))) // latest first: children before parents
        TRY(store::remove_snapshot(txn, snapshot.id));
    return store::remove_vdisk(txn, vdisk.id);
}

/// What somebody may miss besides the versions and what they come from. Errors: Conflict, naming it
Result<> refuse_if_missed(const store::View& view, const store::Vdisk& vdisk, const std::vector<std::string>& branches)
{
    std::vector<std::string> missed;
    std::set<store::SnapshotId> of_versions;
    for (const store::Version& version : TRY(store::versions(view, vdisk.id))) {
        if (version.pinned) missed.push_back(cat("version ", version.number, ", which is pinned"));
        for (const store::Snapshot& one : TRY(store::ancestors(view, version.snapshot)))
            of_versions.insert(one.id);
    }
    for (const std::string& branch : branches)
        missed.push_back(cat("branch ", branch));
    for (const store::Tag& tag : TRY(store::tags(view, vdisk.id)))
        missed.push_back(cat("tag ", tag.name));
    std::size_t others = 0;
    for (const store::Snapshot& one : TRY(store::log(view, vdisk.id)))
        others += of_versions.contains(one.id) ? 0 : 1;
    if (others > 0) missed.push_back(cat(others, " snapshots of no version"));
    if (missed.empty()) return {};
    constexpr std::size_t kShown = 12;
    std::string names;
    for (std::size_t i = 0; i < missed.size() && i < kShown; ++i)
        names += cat(i == 0 ? "" : ", ", missed[i]);
    if (missed.size() > kShown) names += cat(" and ", missed.size() - kShown, " more");
    return fail(Error{ErrorKind::Conflict, cat("vdisk ", vdisk.name, " has ", names)}.hint(
        "remove these first, or all at once with cascade (--cascade)"));
}

/// What goes with a vdisk.
struct Doomed {
    store::Vdisk vdisk;
    std::vector<std::string> branches;
    std::vector<store::SnapshotId> snapshots;
};
Result<Doomed> find_doomed(const store::View& view, const std::string& name, bool cascade)
{
    Doomed doomed{.vdisk = {}, .branches = {}, .snapshots = {}};
    doomed.vdisk = TRY(store::get_vdisk(view, name));
    doomed.branches = TRY(branches_of(view, doomed.vdisk.id));
    if (!cascade) TRY(refuse_if_missed(view, doomed.vdisk, doomed.branches));
    for (const store::Snapshot& one : TRY(store::log(view, doomed.vdisk.id)))
        doomed.snapshots.push_back(one.id);
    return doomed;
}

Result<Reply> remove_vdisk(const StorageApiPtr& api, const Request& request)
{
    const std::string& name = request.param("name");
    const bool cascade = TRY(request.query_boolean("cascade"));
    const auto doomed =
        TRY(api->store().read([&](const store::View& view) { return find_doomed(view, name, cascade); }));
    std::optional<Reply> refused;
    // Minutes may have passed behind somebody who seals: what has come since was not meant.
    const auto remove = [&](store::Txn& txn) -> Result<> {
        refused = TRY(refuse_if_changed(txn, request, vdisk_now(request)));
        if (refused) return fail(ErrorKind::Conflict, "the vdisk has been changed");
        const auto now = TRY(find_doomed(txn, name, cascade)); // without the branches: their rows are gone already
        if (now.vdisk.id != doomed.vdisk.id || !now.branches.empty() || now.snapshots != doomed.snapshots)
            return fail(Error{ErrorKind::Conflict, "it got another snapshot or branch meanwhile"}.hint(
                "look at it again, then repeat this"));
        return remove_rows(txn, now.vdisk);
    };
    auto removed = api->storage->remove(doomed.branches, doomed.snapshots, remove);
    if (refused) return *std::move(refused);
    if (!removed) return fail(with_paths(*api, removed.error()).with(cat("remove vdisk ", name)));
    api->tell("vdisk.removed", path_of(name));
    return no_content();
}

// --- versions

Result<Reply> publish_version(const StorageApiPtr& api, const Request& request)
{
    TRY(check_members(request.body, {"snapshot", "state"}));
    const JsonNode body{request.body};
    const auto reference = TRY(TRY(body.get("snapshot")).text());
    const auto state = TRY(parse_state(TRY(body.text_or("state", "maintenance"))));
    auto version = TRY(change(*api, request, [&](store::Txn& txn) -> Result<json> {
        const auto vdisk = TRY(store::get_vdisk(txn, request.param("name")));
        const auto found = TRY(storage::resolve(txn, reference));
        if (found.snapshot.vdisk != vdisk.id)
            return fail(ErrorKind::Invalid, cat("snapshot ", found.snapshot.id.hex(), " is not of vdisk ", vdisk.name));
        return version_json(TRY(store::add_version(txn, vdisk.id, found.snapshot.id, state)));
    }));
    const std::string location = cat(path_of(request.param("name")), "/versions/", json_text(version["number"]));
    api->tell("version.added", location, version);
    return created(std::move(version), location);
}

Look version_now(const Request& request)
{
    return [&](const store::View& view) -> Result<json> {
        const auto number = TRY(number_of(request));
        const auto vdisk = TRY(store::get_vdisk(view, request.param("name")));
        return version_json(TRY(store::get_version(view, vdisk.id, number)));
    };
}

Result<Reply> get_version(const StorageApiPtr& api, const Request& request)
{
    return with_etag(TRY(api->store().read(version_now(request))));
}

/// A change of one version. Answers with what it is then.
Result<Reply> change_version(const StorageApiPtr& api, const Request& request, const char* event,
                             const std::function<Result<>(store::Txn&, const store::VdiskId&, std::uint64_t)>& body)
{
    const auto number = TRY(number_of(request));
    const auto look = version_now(request);
    const auto make = [&](store::Txn& txn) -> Result<json> {
        const auto vdisk = TRY(store::get_vdisk(txn, request.param("name")));
        TRY(body(txn, vdisk.id, number));
        return look(txn);
    };
    return change_if(*api, request, look, make, [&](json version) {
        api->tell(event, cat(path_of(request.param("name")), "/versions/", number), version);
        return with_etag(std::move(version));
    });
}

Result<Reply> update_version(const StorageApiPtr& api, const Request& request)
{
    TRY(check_members(request.body, {"scheduled", "pinned"}));
    const JsonNode body{request.body};
    const bool reschedules = request.body.contains("scheduled");
    const auto pinned = TRY(body.find("pinned"));
    const bool pins = pinned ? TRY(pinned->boolean()) : false;
    std::optional<store::Time> when;
    if (const auto text = TRY(body.find("scheduled"))) {
        const auto time = TRY(parse_rfc3339(TRY(text->text())));
        when = store::Time{time.tv_sec * 1'000'000'000 + time.tv_nsec};
    }
    return change_version(api, request, "version.changed",
                          [&](store::Txn& txn, const store::VdiskId& vdisk, std::uint64_t number) -> Result<> {
                              if (reschedules) TRY(store::schedule_version(txn, vdisk, number, when));
                              if (!pinned) return {};
                              if (pins) return store::pin_version(txn, vdisk, number);
                              if (!TRY(store::get_version(txn, vdisk, number)).pinned) return {};
                              return store::unpin_version(txn, vdisk);
                          });
}

Result<Reply> promote_version(const StorageApiPtr& api, const Request& request)
{
    return change_version(api, request, "version.promoted",
                          [](store::Txn& txn, const store::VdiskId& vdisk, std::uint64_t number) -> Result<> {
                              TRY(store::promote_version(txn, vdisk, number));
                              return {};
                          });
}

Result<Reply> remove_version(const StorageApiPtr& api, const Request& request)
{
    const auto number = TRY(number_of(request));
    const auto remove = [&](store::Txn& txn) -> Result<json> {
        const auto vdisk = TRY(store::get_vdisk(txn, request.param("name")));
        TRY(store::remove_version(txn, vdisk.id, number));
        return json::object();
    };
    return change_if(*api, request, version_now(request), remove, [&](const json& /*nothing*/) {
        api->tell("version.removed", request.path);
        return no_content();
    });
}

/// The layers below a version become one, and that a version in maintenance: both or neither.
Result<Reply> merge_version(const StorageApiPtr& api, const Request& request)
{
    TRY(check_members(request.body, {"base", "message"}));
    const JsonNode body{request.body};
    const auto base_name = TRY(body.text_or("base", ""));
    const auto number = TRY(number_of(request));
    struct Wanted {
        store::VdiskId vdisk;
        store::SnapshotId snapshot;
        std::optional<store::SnapshotId> base;
    };
    const auto wanted = TRY(api->store().read([&](const store::View& view) -> Result<Wanted> {
        Wanted found{.vdisk = TRY(store::get_vdisk(view, request.param("name"))).id, .snapshot = {}, .base = {}};
        found.snapshot = TRY(store::get_version(view, found.vdisk, number)).snapshot;
        if (!base_name.empty()) found.base = TRY(storage::resolve(view, base_name)).snapshot.id;
        return found;
    }));
    vdisk::SnapshotTrees::MergeNote note{
        .author = author_of(request), .message = TRY(body.text_or("message", "")), .request = request_key(request)};
    note.also = [vdisk = wanted.vdisk](store::Txn& txn, const store::Snapshot& merged) -> Result<> {
        TRY(store::add_version(txn, vdisk, merged.id, store::VersionState::Maintenance));
        return {};
    };
    const std::string versions = cat(path_of(request.param("name")), "/versions/");
    return begin(api, "vdisk.merge", cat(versions, number),
                 [api, wanted, versions, note = std::move(note)](OperationContext& operation) mutable -> Result<json> {
                     note.watch = watch_of(operation, "merging");
                     const auto lease = TRY(api->storage->lease({wanted.snapshot}));
                     const auto merged = TRY(api->storage->trees().merge(wanted.snapshot, wanted.base, note));
                     const auto made = TRY(api->store().read([&](const store::View& view) -> Result<store::Version> {
                         for (const store::Version& one : TRY(store::versions(view, wanted.vdisk)))
                             if (one.snapshot == merged.id) return one;
                         return fail(ErrorKind::Conflict, "the new version has been removed already");
                     }));
                     api->tell("snapshot.created", cat("/v1/snapshots/", merged.id.hex()), {{"id", merged.id.hex()}});
                     api->tell("version.added", cat(versions, made.number), version_json(made));
                     return version_json(made);
                 });
}

// --- tags

Result<Reply> set_tag(const StorageApiPtr& api, const Request& request)
{
    TRY(check_members(request.body, {"snapshot"}));
    const auto reference = TRY(TRY(JsonNode{request.body}.get("snapshot")).text());
    TRY(change(*api, request, [&](store::Txn& txn) -> Result<json> {
        const auto vdisk = TRY(store::get_vdisk(txn, request.param("name")));
        const auto found = TRY(storage::resolve(txn, reference));
        if (found.snapshot.vdisk != vdisk.id)
            return fail(ErrorKind::Invalid, cat("snapshot ", found.snapshot.id.hex(), " is not of vdisk ", vdisk.name));
        TRY(store::set_tag(txn, vdisk.id, request.param("tag"), found.snapshot.id));
        return json::object();
    }));
    api->tell("tag.set", request.path);
    return no_content();
}

Result<Reply> remove_tag(const StorageApiPtr& api, const Request& request)
{
    TRY(change(*api, request, [&](store::Txn& txn) -> Result<json> {
        const auto vdisk = TRY(store::get_vdisk(txn, request.param("name")));
        TRY(store::remove_tag(txn, vdisk.id, request.param("tag")));
        return json::object();
    }));
    api->tell("tag.removed", request.path);
    return no_content();
}

} // namespace

std::vector<StorageRow> vdisk_rows()
{
    using enum Method;
    return {
        {Get, "/v1/vdisks", "listVdisks", "", list_vdisks},
        {Post, "/v1/vdisks", "importVdisk", "ImportRequest", import_vdisk, true},
        {Get, "/v1/vdisks/{name}", "getVdisk", "", get_vdisk},
        conditional({Patch, "/v1/vdisks/{name}", "renameVdisk", "RenameRequest", rename_vdisk}),
        conditional(with_query({Delete, "/v1/vdisks/{name}", "removeVdisk", "", remove_vdisk}, {"cascade"})),
        {Post, "/v1/vdisks/{name}/versions", "publishVersion", "PublishRequest", publish_version},
        {Get, "/v1/vdisks/{name}/versions/{number}", "getVersion", "", get_version},
        conditional({Patch, "/v1/vdisks/{name}/versions/{number}", "updateVersion", "VersionUpdate", update_version}),
        conditional({Post, "/v1/vdisks/{name}/versions/{number}/promote", "promoteVersion", "", promote_version}),
        {Post, "/v1/vdisks/{name}/versions/{number}/merge", "mergeVersion", "VersionMerge", merge_version, true},
        conditional({Delete, "/v1/vdisks/{name}/versions/{number}", "removeVersion", "", remove_version}),
        {Put, "/v1/vdisks/{name}/tags/{tag}", "setTag", "SnapshotReference", set_tag},
        {Delete, "/v1/vdisks/{name}/tags/{tag}", "removeTag", "", remove_tag}};
}

} // namespace coppice::daemon
