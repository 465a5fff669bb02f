#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "coppice/storage/reference.h"
#include "storage.h"
#include "storage_json.h"

namespace coppice::daemon {

namespace {

using nlohmann::json;

Result<Reply> list_mounts(const StorageApiPtr& api, const Request&)
{
    json list = json::array();
    for (const vdisk::MountRecord& mount : TRY(api->storage->mounts().records()))
        list.push_back(mount_json(mount));
    return with_etag(std::move(list));
}

Result<Reply> mount(const StorageApiPtr& api, const Request& request)
{
    TRY(check_members(request.body, {"ref", "branch", "path", "devices", "setuid"}));
    const JsonNode body{request.body};
    const auto reference = TRY(body.text_or("ref", ""));
    const auto branch = TRY(body.text_or("branch", ""));
    const auto path = TRY(TRY(body.get("path")).text());
    if (reference.empty() == branch.empty())
        return fail(ErrorKind::Invalid, "what to mount: either ref, a snapshot, or branch");
    if (!path.starts_with('/')) return fail(ErrorKind::Invalid, cat(printable(path), " is no absolute path"));
    vdisk::MountUse use;
    use.devices = TRY(body.boolean_or("devices", false));
    use.set_uid = TRY(body.boolean_or("setuid", false));
    if (!reference.empty()) {
        const auto named = TRY(api->store().read(
            [&](const store::View& view) -> Result<storage::Reference> { return storage::resolve(view, reference); }));
        if (!named.branch.empty())
            return fail(Error{ErrorKind::Invalid, cat(reference, " is a branch")}.hint(
                cat("mount it as one (--branch), or the snapshot below it: @", named.snapshot.id.hex())));
    }
    const auto record = branch.empty()
                            ? TRY(api->storage->mounts().attach(TRY(snapshot_named(*api, reference)), path, use))
                            : TRY(api->storage->mount(branch, path, use));
    api->tell("mount.created", cat("/v1/mounts/", record.id), mount_json(record));
    return created(mount_json(record), cat("/v1/mounts/", record.id));
}

Result<vdisk::MountRecord> find_mount(const StorageApi& api, const Request& request)
{
    const auto& id = request.param("id");
    for (const vdisk::MountRecord& record : TRY(api.storage->mounts().records()))
        if (record.id == id) return record;
    return fail(Error{ErrorKind::NotFound, cat("there is no mount ", printable(id))}.hint("see: coppice vdisk mounts"));
}

Result<Reply> get_mount(const StorageApiPtr& api, const Request& request)
{
    return with_etag(mount_json(TRY(find_mount(*api, request))));
}

Result<Reply> unmount(const StorageApiPtr& api, const Request& request)
{
    const auto found = TRY(find_mount(*api, request));
    if (auto refused = check_preconditions(request, etag_of(mount_json(found)))) return *std::move(refused);
    TRY(api->storage->unmount(found.path));
    api->tell("mount.removed", request.path, mount_json(found));
    return no_content();
}

} // namespace

std::vector<StorageRow> mount_rows()
{
    using enum Method;
    return {{Get, "/v1/mounts", "listMounts", "", list_mounts},
            {Post, "/v1/mounts", "mount", "MountRequest", mount},
            {Get, "/v1/mounts/{id}", "getMount", "", get_mount},
            conditional({Delete, "/v1/mounts/{id}", "unmount", "", unmount})};
}

} // namespace coppice::daemon
