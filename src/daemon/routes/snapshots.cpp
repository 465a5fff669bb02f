#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "coppice/storage/reference.h"
#include "coppice/store/origin.h"
#include "storage.h"
#include "storage_json.h"

#include <algorithm>

namespace coppice::daemon {

namespace {

using nlohmann::json;

std::string path_of(const store::SnapshotId& id) { return cat("/v1/snapshots/", id.hex()); }

Result<json> current(const StorageApi& api, const store::SnapshotId& id)
{
    return api.store().read([&](const store::View& view) -> Result<json> {
        return snapshot_json(view, TRY(store::get_snapshot(view, id)));
    });
}

Result<Reply> list_snapshots(const StorageApiPtr& api, const Request& request)
{
    const auto limit = static_cast<std::size_t>(TRY(request.query_integer("limit", 0, 1'000'000'000, 0)));
    const auto vdisk = request.query.find("vdisk"), history = request.query.find("history");
    if (vdisk != request.query.end() && history != request.query.end())
        return fail(ErrorKind::Invalid, "either the snapshots of a vdisk, or the history of one: not both");
    Reply reply;
    reply.raw = TRY(api->store().read([&](const store::View& view) -> Result<std::string> {
        if (history != request.query.end()) {
            if (TRY(store::find_working(view, history->second)))
                return snapshots_text(view, TRY(store::history_of(view, history->second, limit)));
            const auto head = TRY(storage::resolve(view, history->second)).snapshot.id;
            return snapshots_text(view, TRY(store::ancestors(view, head, limit)));
        }
        if (vdisk != request.query.end())
            return snapshots_text(view, TRY(store::log(view, TRY(store::get_vdisk(view, vdisk->second)).id, limit)));
        std::vector<store::Snapshot> all;
        for (const store::Vdisk& one : TRY(store::all_vdisks(view)))
            for (store::Snapshot& snapshot : TRY(store::log(view, one.id, limit)))
                all.push_back(std::move(snapshot));
        std::stable_sort(all.begin(), all.end(), [](const store::Snapshot& a, const store::Snapshot& b) {
            return store::nanoseconds(a.created) > store::nanoseconds(b.created);
        });
        if (limit > 0 && all.size() > limit) all.resize(limit);
        return snapshots_text(view, all);
    }));
    return reply;
}

Look snapshot_now(const Request& request)
{
    return [&](const store::View& view) -> Result<json> {
        return snapshot_details_json(view, TRY(storage::resolve(view, request.param("ref"))).snapshot);
    };
}

Result<Reply> get_snapshot(const StorageApiPtr& api, const Request& request)
{
    return with_etag(TRY(api->store().read(snapshot_now(request))));
}

Result<Reply> set_message(const StorageApiPtr& api, const Request& request)
{
    TRY(check_members(request.body, {"message"}));
    const auto message = TRY(TRY(JsonNode{request.body}.get("message")).text());
    const auto look = snapshot_now(request);
    const auto set = [&](store::Txn& txn) -> Result<json> {
        TRY(store::set_message(txn, TRY(storage::resolve(txn, request.param("ref"))).snapshot.id, message));
        return look(txn);
    };
    return change_if(*api, request, look, set, snapshot_reply);
}

/// Tags and versions that name one of the snapshots.
Result<> remove_names(store::Txn& txn, const std::vector<store::SnapshotId>& ids)
{
    const auto is_one = [&](const store::SnapshotId& id) { return std::find(ids.begin(), ids.end(), id) != ids.end(); };
    for (const store::Vdisk& vdisk : TRY(store::all_vdisks(txn))) {
        for (const store::Tag& tag : TRY(store::tags(txn, vdisk.id)))
            if (is_one(tag.snapshot)) TRY(store::remove_tag(txn, vdisk.id, tag.name));
        for (const store::Version& version : TRY(store::versions(txn, vdisk.id)))
            if (is_one(version.snapshot)) TRY(store::remove_version(txn, vdisk.id, version.number));
    }
    return {};
}

Result<Reply> remove_snapshot(const StorageApiPtr& api, const Request& request)
{
    const bool cascade = TRY(request.query_boolean("cascade"));
    std::vector<store::SnapshotId> ids; // children first
    TRY(api->store().read([&](const store::View& view) -> Result<> {
        const auto top = TRY(storage::resolve(view, request.param("ref"))).snapshot.id;
        if (cascade)
            for (const store::Snapshot& below : TRY(store::descendants(view, top)))
                ids.push_back(below.id);
        std::reverse(ids.begin(), ids.end());
        ids.push_back(top);
        return {};
    }));
    std::optional<Reply> refused;
    auto done = api->storage->remove({}, ids, [&](store::Txn& txn) -> Result<> {
        refused = TRY(refuse_if_changed(txn, request, snapshot_now(request)));
        if (refused) return fail(ErrorKind::Conflict, "the snapshot has been changed");
        if (cascade) TRY(remove_names(txn, ids));
        for (const store::SnapshotId& id : ids)
            TRY(store::remove_snapshot(txn, id));
        return {};
    });
    if (refused) return *std::move(refused);
    if (!done) return fail(with_paths(*api, done.error()));
    json removed = json::array();
    for (const store::SnapshotId& id : ids) {
        removed.push_back(id.hex());
        api->tell("snapshot.removed", path_of(id), {{"id", id.hex()}});
    }
    return Reply::json({{"removed", std::move(removed)}});
}

Result<Reply> seal_snapshot(const StorageApiPtr& api, const Request& request)
{
    TRY(check_members(request.body, {"accept"}));
    const auto doubtful = TRY(JsonNode{request.body}.boolean_or("accept", false)) ? vdisk::Sealer::Doubtful::Accept
                                                                                  : vdisk::Sealer::Doubtful::Refuse;
    const auto id = TRY(snapshot_named(*api, request.param("ref")));
    return begin(api, "snapshot.seal", path_of(id), [api, id, doubtful](OperationContext& operation) -> Result<json> {
        operation.show({.done = 0, .total = 0, .unit = "", .stage = "sealing"});
        TRY(api->storage->seal(id, doubtful, [&] { return !operation.stop().stop_requested(); }));
        return current(*api, id);
    });
}

Result<Reply> merge_snapshot(const StorageApiPtr& api, const Request& request)
{
    TRY(check_members(request.body, {"base", "flatten", "message"}));
    const JsonNode body{request.body};
    const auto base_name = TRY(body.text_or("base", ""));
    const bool flatten = TRY(body.boolean_or("flatten", false));
    if (flatten && !base_name.empty())
        return fail(ErrorKind::Invalid, "either flatten, or merge into a base: not both");
    std::optional<store::SnapshotId> base;
    const auto id = TRY(api->store().read([&](const store::View& view) -> Result<store::SnapshotId> {
        const auto snapshot = TRY(storage::resolve(view, request.param("ref"))).snapshot;
        if (!base_name.empty()) base = TRY(storage::resolve(view, base_name)).snapshot.id;
        if (!flatten && base_name.empty()) {
            if (!snapshot.parent)
                return fail(ErrorKind::Invalid, cat("snapshot ", snapshot.id.hex(), " has no parent to merge into"));
            base = TRY(store::get_snapshot(view, *snapshot.parent)).parent;
        }
        return snapshot.id;
    }));
    vdisk::SnapshotTrees::MergeNote note{
        .author = author_of(request), .message = TRY(body.text_or("message", "")), .request = request_key(request)};
    return begin(api, "snapshot.merge", path_of(id),
                 [api, id, base, note = std::move(note)](OperationContext& operation) mutable -> Result<json> {
                     note.watch = watch_of(operation, "merging");
                     const auto lease = TRY(api->storage->lease({id}));
                     const auto merged = TRY(api->storage->trees().merge(id, base, note));
                     api->tell("snapshot.created", path_of(merged.id), {{"id", merged.id.hex()}});
                     return current(*api, merged.id);
                 });
}

} // namespace

std::vector<StorageRow> snapshot_rows()
{
    using enum Method;
    return {
        with_query({Get, "/v1/snapshots", "listSnapshots", "", list_snapshots}, {"vdisk", "history", "limit"}),
        {Get, "/v1/snapshots/{ref}", "getSnapshot", "", get_snapshot},
        conditional({Patch, "/v1/snapshots/{ref}", "setMessage", "MessageRequest", set_message}),
        conditional(with_query({Delete, "/v1/snapshots/{ref}", "removeSnapshot", "", remove_snapshot}, {"cascade"})),
        {Post, "/v1/snapshots/{ref}/seal", "sealSnapshot", "SealRequest", seal_snapshot, true},
        {Post, "/v1/snapshots/{ref}/merge", "mergeSnapshot", "MergeRequest", merge_snapshot, true}};
}

} // namespace coppice::daemon
