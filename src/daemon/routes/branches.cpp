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
    TRY(api->storage->remove({request.param("name")}, {}));
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

Result<json> make_snapshot(
    const StorageApi& api, const std::string& branch, const vdisk::FreezeNote& note, storage::Reach reach,
    const std::string& tag, const vdisk::Sealer::GoOn& go_on = [] { return true; })
{
    const auto made = TRY(api.storage->snapshot(branch, note, reach, go_on));
    if (!tag.empty())
        TRY(api.store().write([&](store::Txn& txn) { return store::set_tag(txn, made.vdisk, tag, made.id); }));
    const std::string path = cat("/v1/snapshots/", made.id.hex());
    api.tell("snapshot.created", path, {{"id", made.id.hex()}, {"branch", branch}});
    return api.store().read([&](const store::View& view) { return snapshot_json(view, made); });
}

Result<Reply> create_snapshot(const StorageApiPtr& api, const Request& request)
{
    TRY(check_members(request.body, {"message", "wait", "tag"}));
    const JsonNode body{request.body};
    const auto reach = TRY(parse_reach(TRY(body.text_or("wait", "durable"))));
    const auto tag = TRY(body.text_or("tag", ""));
    if (!tag.empty()) TRY(check_name(tag));
    const vdisk::FreezeNote note{.author = author_of(request),
                                 .message = TRY(body.text_or("message", "")),
                                 .config = {},
                                 .request = request_key(request)};
    const std::string branch = request.param("name");
    if (reach == storage::Reach::Sealed)
        return begin(api, "snapshot.create", path_of(branch),
                     [api, branch, note, tag](OperationContext& operation) -> Result<json> {
                         operation.show({.done = 0, .total = 0, .unit = "", .stage = "sealing"});
                         return make_snapshot(*api, branch, note, storage::Reach::Sealed, tag,
                                              [&] { return !operation.stop().stop_requested(); });
                     });
    auto made = TRY(make_snapshot(*api, branch, note, reach, tag));
    const std::string location = cat("/v1/snapshots/", made["id"].get<std::string>());
    return created(std::move(made), location);
}

Result<Reply> roll_back(const StorageApiPtr& api, const Request& request)
{
    TRY(check_members(request.body, {"to"}));
    const std::string& name = request.param("name");
    const auto to = TRY(snapshot_named(*api, TRY(TRY(JsonNode{request.body}.get("to")).text())));
    TRY(api->storage->rollback(name, to, request_key(request)));
    api->tell("branch.rolled_back", path_of(name), {{"snapshot", to.hex()}});
    return with_etag(TRY(current(*api, name)));
}

Result<Reply> check_out(const StorageApiPtr& api, const Request& request)
{
    TRY(check_members(request.body, {"from", "paths"}));
    const JsonNode body{request.body};
    const auto from = TRY(snapshot_named(*api, TRY(TRY(body.get("from")).text())));
    const auto paths = TRY(TRY(body.get("paths")).texts());
    TRY(api->storage->checkout(request.param("name"), from, paths));
    return Reply::json({{"paths", paths}});
}

} // namespace

std::vector<StorageRow> branch_rows()
{
    using enum Method;
    return {{Get, "/v1/branches", "listBranches", "", list_branches},
            {Post, "/v1/branches", "createBranch", "BranchRequest", create_branch},
            {Get, "/v1/branches/{name}", "getBranch", "", get_branch},
            {Delete, "/v1/branches/{name}", "removeBranch", "", remove_branch},
            {Post, "/v1/branches/{name}/snapshots", "createSnapshot", "SnapshotRequest", create_snapshot},
            {Post, "/v1/branches/{name}/rollback", "rollBack", "RollbackRequest", roll_back},
            {Post, "/v1/branches/{name}/checkout", "checkOut", "CheckoutRequest", check_out}};
}

} // namespace coppice::daemon
