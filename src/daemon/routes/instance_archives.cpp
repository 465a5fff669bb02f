#include "coppice/node/archive.h"

#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "storage.h"

namespace coppice::daemon {

namespace {

using nlohmann::json;

std::string path_of(const std::string& instance) { return cat("/v1/instances/", instance); }

Result<std::string> absolute_path_in(const JsonNode& body)
{
    auto path = TRY(TRY(body.get("path")).text());
    if (!path.starts_with('/')) return fail(ErrorKind::Invalid, cat(printable(path), " is no absolute path"));
    return path;
}

Result<Reply> export_instance(const StorageApiPtr& api, const Request& request)
{
    TRY(check_members(request.body, {"path", "with_volumes"}));
    const JsonNode body{request.body};
    node::ExportWish wish;
    wish.name = request.param("name");
    wish.path = TRY(absolute_path_in(body));
    wish.author = author_of(request);
    wish.with_volumes = TRY(body.boolean_or("with_volumes", false));
    return begin(api, "instance.export", path_of(wish.name), [api, wish](OperationContext& operation) -> Result<json> {
        const auto done = TRY(node::export_instance(*api->instances, *api->storage, wish, import_context(operation)));
        return json{{"path", done.file.path},
                    {"bytes", done.file.bytes},
                    {"digest", done.file.digest.hex()},
                    {"snapshot", done.snapshot.hex()},
                    {"left_out", done.left_out}};
    });
}

Result<Reply> import_instance(const StorageApiPtr& api, const Request& request)
{
    TRY(check_members(request.body, {"path", "name", "keep_privileges"}));
    const JsonNode body{request.body};
    node::ImportWish wish;
    wish.path = TRY(absolute_path_in(body));
    wish.name = TRY(body.text_or("name", ""));
    wish.keep_privileges = TRY(body.boolean_or("keep_privileges", false));
    wish.author = author_of(request);
    return begin(api, "instance.import", "/v1/instances", [api, wish](OperationContext& operation) -> Result<json> {
        const auto made = TRY(node::import_instance(*api->instances, *api->storage, wish, import_context(operation)));
        return json{
            {"name", made.name}, {"root", made.root}, {"snapshot", made.snapshot.hex()}, {"left_out", made.left_out}};
    });
}

} // namespace

std::vector<StorageRow> instance_archive_rows()
{
    using enum Method;
    return {{Post, "/v1/instances/{name}/export", "exportInstance", "InstanceExport", export_instance, true},
            {Post, "/v1/instance-imports", "importInstance", "InstanceImport", import_instance, true}};
}

} // namespace coppice::daemon
