#include "storage.h"

#include "coppice/base/json.h"
#include "coppice/base/json_text.h"
#include "coppice/base/text.h"
#include "coppice/daemon/storage_routes.h"
#include "coppice/security/sha256.h"
#include "coppice/storage/reference.h"
#include "storage_json.h"

#include <algorithm>
#include <array>
#include <climits>
#include <unistd.h>

namespace coppice::daemon {

Result<> check_members(const nlohmann::json& body, std::initializer_list<std::string_view> known)
{
    if (!body.is_object()) return fail(ErrorKind::Invalid, "the body must be an object");
    for (const auto& [name, value] : body.items())
        if (std::find(known.begin(), known.end(), name) == known.end())
            return fail(Error{ErrorKind::Invalid, cat("'", printable(name), "' is no member of this request")}.hint(
                "see /v1/openapi.json"));
    return {};
}

Result<store::SnapshotId> snapshot_named(const StorageApi& api, const std::string& reference)
{
    return api.store().read([&](const store::View& view) -> Result<store::SnapshotId> {
        const auto found = TRY(storage::resolve(view, reference));
        return found.snapshot.id;
    });
}

std::string author_of(const Request& request)
{
    std::array<char, HOST_NAME_MAX + 1> host{};
    if (::gethostname(host.data(), host.size() - 1) < 0) host[0] = '\0'; // it is told without
    return cat("uid ", request.identity.uid, "@", host.data());
}

std::optional<store::RequestKey> request_key(const Request& request)
{
    if (request.idempotency_key.empty()) return {};
    struct KeyKind {};
    const auto key =
        security::sha256<security::Digest<KeyKind>>(cat(request.identity.uid, ':', request.idempotency_key));
    std::string asked = cat(word_of(request.method), ' ', request.path);
    for (const auto& [name, value] : request.query)
        asked += cat('\n', name, '=', value);
    return store::RequestKey{.key = key.hex(), .fingerprint = cat(asked, '\n', json_text(request.body))};
}

Result<nlohmann::json> change(const StorageApi& api, const Request& request,
                              const std::function<Result<nlohmann::json>(store::Txn&)>& body)
{
    const auto key = request_key(request);
    if (!key) return api.store().write(body);
    const auto text = TRY(api.store().write_once(*key, [&](store::Txn& txn) -> Result<std::string> {
        const auto outcome = TRY(body(txn));
        return json_text(outcome);
    }));
    return parse_json(text);
}

Result<std::optional<Reply>> refuse_if_changed(const store::View& view, const Request& request, const Look& look)
{
    if (request.if_match.empty() && request.if_none_match.empty()) return std::optional<Reply>{};
    const auto now = TRY(look(view));
    return check_preconditions(request, etag_of(now));
}

Result<Reply> change_if(const StorageApi& api, const Request& request, const Look& look,
                        const std::function<Result<nlohmann::json>(store::Txn&)>& body,
                        const std::function<Reply(nlohmann::json)>& answer)
{
    std::optional<Reply> refused;
    auto outcome = change(api, request, [&](store::Txn& txn) -> Result<nlohmann::json> {
        refused = TRY(refuse_if_changed(txn, request, look));
        if (refused) return fail(ErrorKind::Conflict, "the resource has been changed"); // nothing is
        return body(txn);
    });
    if (refused) return *std::move(refused);
    return answer(TRY(std::move(outcome)));
}

Reply created(nlohmann::json body, const std::string& location)
{
    Reply reply = with_etag(std::move(body));
    reply.status = 201;
    reply.headers["Location"] = location;
    return reply;
}

Reply no_content()
{
    Reply reply;
    reply.status = 204;
    return reply;
}

std::string etag_of(const nlohmann::json& body) { return cat('"', hash_of(json_text(body)), '"'); }

Reply with_etag(nlohmann::json body)
{
    const std::string etag = etag_of(body);
    return Reply::json(std::move(body), etag);
}

Error with_paths(const StorageApi& api, const Error& error)
{
    const auto mounts = api.storage->mounts().records();
    if (!mounts) return error;
    std::string message = error.message();
    for (const vdisk::MountRecord& mount : *mounts)
        if (const auto at = message.find(mount.id); at != std::string::npos)
            message.replace(at, mount.id.size(), cat("at ", printable(mount.path)));
    if (message == error.message()) return error;
    Error named{error.kind(), std::move(message)};
    return error.hint_text().empty() ? named : std::move(named).hint(error.hint_text());
}

Reply snapshot_reply(nlohmann::json details)
{
    const std::string etag = etag_of(details);
    return Reply::json(plain_snapshot(std::move(details)), etag);
}

Result<Reply> begin(const StorageApiPtr& api, std::string kind, std::string subject, Operations::Work work)
{
    return accepted(TRY(api->services.operations.start(
        std::move(kind), std::move(subject),
        [api, work = std::move(work)](OperationContext& context) { return work(context); })));
}

store::Watch watch_of(OperationContext& operation, std::string stage)
{
    return [&operation, stage = std::move(stage)](std::uint64_t bytes) -> Result<> {
        operation.show({.done = bytes, .total = 0, .unit = "bytes", .stage = stage});
        if (!operation.stop().stop_requested()) return {};
        return fail(ErrorKind::Unavailable, cat(stage, " was stopped"));
    };
}

imports::Context import_context(OperationContext& operation)
{
    imports::Context context;
    context.stop = operation.stop();
    context.progress = [&operation](const imports::Progress& progress) {
        operation.show({.done = progress.bytes,
                        .total = progress.total_bytes,
                        .unit = "bytes",
                        .stage = std::string{progress.stage}});
    };
    return context;
}

std::vector<StorageRow> storage_rows()
{
    std::vector<StorageRow> all;
    for (const auto& rows :
         {vdisk_rows(), snapshot_rows(), content_rows(), branch_rows(), instance_rows(), instance_log_rows(),
          instance_watch_rows(), instance_archive_rows(), mount_rows(), upkeep_rows()})
        all.insert(all.end(), rows.begin(), rows.end());
    return all;
}

Result<std::vector<Route>> storage_routes(Services& services)
{
    storage::Background::Options background;
    background.sealed = [&events = services.events](const store::Snapshot& snapshot) {
        events.publish("snapshot.sealed", cat("/v1/snapshots/", snapshot.id.hex()), {{"id", snapshot.id.hex()}});
    };
    auto opened = TRY(storage::Storage::open(services.root, std::move(background)));
    const auto api = std::make_shared<StorageApi>(StorageApi{.services = services, .storage = std::move(opened)});
    api->instances =
        TRY(node::Instances::open(*api->storage, services.root, [&events = services.events](const node::News& news) {
            nlohmann::json data = nlohmann::json::object();
            if (news.what == "ended") data["status"] = news.status;
            if (!news.note.empty()) data["note"] = news.note;
            events.publish(cat("instance.", news.what), cat("/v1/instances/", news.name), std::move(data));
        }));
    std::vector<Route> routes;
    for (const StorageRow& row : storage_rows())
        routes.push_back(
            {.method = row.method,
             .path = row.path,
             .id = row.id,
             .verb = row.method == Method::Get ? Verb::Read : row.verb,
             .body_schema = row.body_schema,
             .long_running = row.long_running,
             .handler = [api, handler = row.handler](const Request& request) { return handler(api, request); },
             .type = row.type,
             .query = row.query,
             .conditional = row.conditional});
    return routes;
}

} // namespace coppice::daemon
