#include "coppice/base/id.h"
#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "storage.h"
#include "storage_json.h"

namespace coppice::daemon {

namespace {

using nlohmann::json;

std::string path_of(const std::string& branch) { return cat("/v1/branches/", branch); }

Result<json> current(const StorageApi& api, const std::string& name)
{
    const auto mounts = TRY(api.storage->mounts().records());
    return api.store().read([&](const store::View& view) -> Result<json> {
        return branch_json(view, TRY(store::get_working(view, name)), mounts);
    });
}

/// Whether the client still means what is there. Not in the transaction of what follows: that belongs to the working
/// layers, which do one thing at a time.
Result<std::optional<Reply>> refuse_if_changed(const StorageApi& api, const Request& request)
{
    if (request.if_match.empty() && request.if_none_match.empty()) return std::optional<Reply>{};
    const auto now = TRY(current(api, request.param("name")));
    return check_preconditions(request, etag_of(now));
}

Result<Reply> list_branches(const StorageApiPtr& api, const Request&)
{
    const auto mounts = TRY(api->storage->mounts().records());
    auto list = TRY(api->store().read([&](const store::View& view) -> Result<json> {
        json all = json::array();
        for (const store::Working& branch : TRY(store::all_working(view)))
            all.push_back(TRY(branch_json(view, branch, mounts)));
        return all;
    }));
    return with_etag(std::move(list));
}

Result<Reply> get_branch(const StorageApiPtr& api, const Request& request)
{
    return with_etag(TRY(current(*api, request.param("name"))));
}

Result<Reply> create_branch(const StorageApiPtr& api, const Request& request)
{
    TRY(check_members(request.body, {"name", "from"}));
    const JsonNode body{request.body};
    const auto name = TRY(TRY(body.get("name")).text());
    const auto from = TRY(snapshot_named(*api, TRY(TRY(body.get("from")).text())));
    TRY(api->storage->layers().create(name, from, request_key(request)));
    api->tell("branch.created", path_of(name), {{"snapshot", from.hex()}});
    return created(TRY(current(*api, name)), path_of(name));
}

Result<Reply> remove_branch(const StorageApiPtr& api, const Request& request)
{
    if (auto refused = TRY(refuse_if_changed(*api, request))) return *std::move(refused);
    const std::string name{request.param("name")};
    if (const auto owner = api->instances->find(name); owner && !owner->config.snapshot.empty())
        return fail(Error{ErrorKind::Conflict, cat("branch ", name, " is what instance ", name, " writes into")}.hint(
            cat("remove both: coppice rm ", name)));
    TRY(api->storage->remove({name}, {}));
    api->tell("branch.removed", request.path);
    return no_content();
}

// --- what is done with one

Result<storage::Reach> parse_reach(const std::string& word)
{
    if (word == "frozen") return storage::Reach::Frozen;
    if (word == "durable") return storage::Reach::Durable;
    if (word == "sealed") return storage::Reach::Sealed;
    return fail(ErrorKind::Invalid, cat("'", printable(word), "' is no state: frozen, durable or sealed is one"));
}

/// Puts the tag on what is made, in the same transaction: both are there or neither.
std::function<Result<>(store::Txn&, const store::Snapshot&)> tagging(const std::string& tag, bool force)
{
    if (tag.empty()) return {};
    return [tag, force](store::Txn& txn, const store::Snapshot& made) -> Result<> {
        for (const store::Tag& one : TRY(store::tags(txn, made.vdisk)))
            if (one.name == tag && !force)
                return fail(
                    Error{ErrorKind::Conflict, cat("there is a tag ", tag, " already, of ", one.snapshot.hex())}.hint(
                        "take another name, or move it with force (--force)"));
        return store::set_tag(txn, made.vdisk, tag, made.id);
    };
}

Result<json> details(const StorageApi& api, const store::Snapshot& snapshot)
{
    return api.store().read([&](const store::View& view) { return snapshot_details_json(view, snapshot); });
}

/// What it took is told once: whoever repeats the request gets the snapshot alone.
json with_cost(json snapshot, const std::optional<vdisk::CaptureCost>& cost)
{
    if (!cost) return snapshot;
    snapshot["pauseMicroseconds"] = cost->pause.count();
    snapshot["copiedBytes"] = cost->copied_bytes;
    snapshot["how"] = cost->shared ? "reflink" : "copy";
    return snapshot;
}

Result<Reply> create_snapshot(const StorageApiPtr& api, const Request& request)
{
    TRY(check_members(request.body, {"message", "wait", "tag", "force"}));
    const JsonNode body{request.body};
    const auto reach = TRY(parse_reach(TRY(body.text_or("wait", "durable"))));
    const auto tag = TRY(body.text_or("tag", ""));
    const bool force = TRY(body.boolean_or("force", false));
    if (!tag.empty()) TRY(check_name(tag));
    if (auto refused = TRY(refuse_if_changed(*api, request))) return *std::move(refused);
    const vdisk::FreezeNote note{.author = author_of(request),
                                 .message = TRY(body.text_or("message", "")),
                                 .request = request_key(request),
                                 .also = tagging(tag, force)};
    const std::string branch = request.param("name");
    const auto freeze = [api, branch, note](const std::stop_token& stop) -> Result<vdisk::Captured> {
        auto made = TRY(api->instances->snapshot(branch, note, [&](std::uint64_t) -> Result<> {
            if (!stop.stop_requested()) return {};
            return fail(ErrorKind::Unavailable, "stopped: there is no snapshot");
        }));
        const std::string id = made.snapshot.id.hex();
        api->tell("snapshot.created", cat("/v1/snapshots/", id), {{"id", id}, {"branch", branch}});
        return made;
    };
    if (reach == storage::Reach::Sealed)
        return begin(
            api, "snapshot.create", path_of(branch), [api, freeze](OperationContext& operation) -> Result<json> {
                operation.show({.done = 0, .total = 0, .unit = "", .stage = "sealing"});
                const auto made = TRY(freeze(operation.stop()));
                const auto sealed = TRY(api->storage->bring(made.snapshot.id, storage::Reach::Sealed,
                                                            [&] { return !operation.stop().stop_requested(); }));
                return with_cost(plain_snapshot(TRY(details(*api, sealed))), made.cost);
            });
    const auto made = TRY(freeze(request.stop));
    auto reply = snapshot_reply(TRY(details(*api, TRY(api->storage->bring(made.snapshot.id, reach)))));
    reply.status = 201;
    reply.headers["Location"] = cat("/v1/snapshots/", made.snapshot.id.hex());
    reply.body = with_cost(std::move(reply.body), made.cost);
    return reply;
}

Result<Reply> roll_back(const StorageApiPtr& api, const Request& request)
{
    TRY(check_members(request.body, {"to"}));
    if (auto refused = TRY(refuse_if_changed(*api, request))) return *std::move(refused);
    const std::string& name = request.param("name");
    const auto to = TRY(snapshot_named(*api, TRY(TRY(JsonNode{request.body}.get("to")).text())));
    TRY(api->storage->rollback(name, to, request_key(request)));
    api->tell("branch.rolled_back", path_of(name), {{"snapshot", to.hex()}});
    return with_etag(TRY(current(*api, name)));
}

Result<Reply> check_out(const StorageApiPtr& api, const Request& request)
{
    TRY(check_members(request.body, {"from", "paths"}));
    if (auto refused = TRY(refuse_if_changed(*api, request))) return *std::move(refused);
    const JsonNode body{request.body};
    const auto from = TRY(snapshot_named(*api, TRY(TRY(body.get("from")).text())));
    const auto paths = TRY(TRY(body.get("paths")).texts());
    TRY(api->storage->checkout(request.param("name"), from, paths, [&](std::uint64_t) -> Result<> {
        if (!request.stop.stop_requested()) return {};
        return fail(ErrorKind::Unavailable, "stopped: some of the files are written, others are not");
    }));
    return Reply::json({{"paths", paths}});
}

} // namespace

std::vector<StorageRow> branch_rows()
{
    using enum Method;
    return {{Get, "/v1/branches", "listBranches", "", list_branches},
            {Post, "/v1/branches", "createBranch", "BranchRequest", create_branch},
            {Get, "/v1/branches/{name}", "getBranch", "", get_branch},
            conditional({Delete, "/v1/branches/{name}", "removeBranch", "", remove_branch}),
            conditional({Post, "/v1/branches/{name}/snapshots", "createSnapshot", "SnapshotRequest", create_snapshot}),
            conditional({Post, "/v1/branches/{name}/rollback", "rollBack", "RollbackRequest", roll_back}),
            conditional({Post, "/v1/branches/{name}/checkout", "checkOut", "CheckoutRequest", check_out})};
}

} // namespace coppice::daemon
