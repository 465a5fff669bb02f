#pragma once

#include "coppice/daemon/routes.h"
#include "coppice/import/context.h"
#include "coppice/node/instances.h"
#include "coppice/storage/storage.h"
#include "coppice/store/watch.h"

#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>

/// What the storage's handlers share.
namespace coppice::daemon {

/// What they work on. Operations hold it, too.
struct StorageApi {
    Services& services;
    std::unique_ptr<storage::Storage> storage;
    std::unique_ptr<node::Instances> instances = {}; ///< on it: goes first

    [[nodiscard]] store::Store& store() const { return storage->store(); }
    void tell(std::string type, std::string subject, nlohmann::json data = nlohmann::json::object()) const
    {
        services.events.publish(std::move(type), std::move(subject), std::move(data));
    }
};
using StorageApiPtr = std::shared_ptr<StorageApi>;

using StorageHandler = Result<Reply> (*)(const StorageApiPtr&, const Request&);
struct StorageRow {
    Method method;
    const char* path;
    const char* id;
    const char* body_schema;
    StorageHandler handler;
    bool long_running = false;
    Verb verb = Verb::Change; ///< of GET it is Read
    const char* type = "application/json";
    std::vector<std::string> query = {}; ///< this and the next as in Route
    bool conditional = false;
};
inline StorageRow with_query(StorageRow row, std::vector<std::string> names)
{
    row.query = std::move(names);
    return row;
}
inline StorageRow conditional(StorageRow row)
{
    row.conditional = true;
    return row;
}

std::vector<StorageRow> vdisk_rows();
std::vector<StorageRow> snapshot_rows();
std::vector<StorageRow> content_rows(); ///< of what is in snapshots: diff, files, export, verify
std::vector<StorageRow> branch_rows();
std::vector<StorageRow> instance_rows();
std::vector<StorageRow> instance_log_rows();
std::vector<StorageRow> instance_watch_rows();   ///< what they take of the host, and their processes
std::vector<StorageRow> instance_archive_rows(); ///< export, import
std::vector<StorageRow> mount_rows();
std::vector<StorageRow> upkeep_rows();  ///< df, gc, fsck
std::vector<StorageRow> storage_rows(); ///< all of them

/// Errors: Invalid, naming the member that the schema does not have
Result<> check_members(const nlohmann::json& body, std::initializer_list<std::string_view> known);
/// A member that must be a reference, resolved. Errors: as storage::resolve
Result<store::SnapshotId> snapshot_named(const StorageApi& api, const std::string& reference);

/// What the author of a snapshot is called: who asked, on which machine.
std::string author_of(const Request& request);
/// The key under which the store remembers what the request did; empty when it brought none.
std::optional<store::RequestKey> request_key(const Request& request);
/// Changes rows; with a key at most once. @returns what `body` did, the first time
Result<nlohmann::json> change(const StorageApi& api, const Request& request,
                              const std::function<Result<nlohmann::json>(store::Txn&)>& body);
/// What a resource is now: what GET answers with.
using Look = std::function<Result<nlohmann::json>(const store::View&)>;
/// What to answer when If-Match or If-None-Match speaks against going on.
Result<std::optional<Reply>> refuse_if_changed(const store::View& view, const Request& request, const Look& look);
/// As `change`, after that question in the same transaction. @param body returns what the resource is then
/// @param answer makes the reply of that
Result<Reply> change_if(const StorageApi& api, const Request& request, const Look& look,
                        const std::function<Result<nlohmann::json>(store::Txn&)>& body,
                        const std::function<Reply(nlohmann::json)>& answer);
/// 201, with what was made.
Reply created(nlohmann::json body, const std::string& location);
Reply no_content();
/// Changes whenever the content does.
std::string etag_of(const nlohmann::json& body);
/// With its ETag.
Reply with_etag(nlohmann::json body);

/// The same error, with the paths of mounts in the place of the ids by which the store knows them.
Error with_paths(const StorageApi& api, const Error& error);
/// A Snapshot, with the ETag that GET has: that of its details.
Reply snapshot_reply(nlohmann::json details);

/// Work in an operation, whose progress is counted in bytes.
Result<Reply> begin(const StorageApiPtr& api, std::string kind, std::string subject, Operations::Work work);

/// Shows the bytes as the operation's progress at `stage`, and ends what it watches when the operation is to stop.
store::Watch watch_of(OperationContext& operation, std::string stage);
/// What imports and exports need of their operation.
imports::Context import_context(OperationContext& operation);

} // namespace coppice::daemon
