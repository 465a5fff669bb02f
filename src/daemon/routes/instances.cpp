#include "coppice/base/json.h"
#include "coppice/base/json_text.h"
#include "coppice/base/text.h"
#include "coppice/instance/config.h"
#include "coppice/storage/reference.h"
#include "storage.h"

namespace coppice::daemon {

namespace {

using nlohmann::json;

std::string path_of(const std::string& name) { return cat("/v1/instances/", name); }

Result<json> instance_json(const node::Instances::Known& known)
{
    auto document = TRY(parse_json(instance::to_json(known.config)));
    document["state"] = known.is_running ? "running" : known.config.exit_status ? "exited" : "stopped";
    return document;
}

Result<Reply> list_instances(const StorageApiPtr& api, const Request&)
{
    json all = json::array();
    for (const auto& known : TRY(api->instances->list()))
        all.push_back(TRY(instance_json(known)));
    return with_etag(std::move(all));
}

Result<Reply> get_instance(const StorageApiPtr& api, const Request& request)
{
    const std::string name{request.param("name")};
    auto document = TRY(instance_json(TRY(api->instances->find(name))));
    document["personalised"] = TRY(api->instances->personalised(name));
    return with_etag(std::move(document));
}

/// What was asked for, over what the vdisk's configuration says.
Result<instance::InstanceConfig> wanted(const StorageApi& api, const json& asked)
{
    auto config = TRY_DOING("config", instance::parse_instance_config(json_text(asked)));
    if (config.root.find('/') != std::string::npos)
        return fail(
            Error{ErrorKind::Invalid, cat(printable(config.root), " is no vdisk, version, branch or snapshot")}.hint(
                "directories and images are run by the command line itself"));
    return api.store().read([&](const store::View& view) -> Result<instance::InstanceConfig> {
        const auto snapshot = TRY(storage::resolve(view, config.root)).snapshot;
        config.snapshot = snapshot.id.hex();
        TRY(instance::apply_image_config(config, TRY(store::config_of(view, snapshot.id))));
        return config;
    });
}

Result<Reply> run_instance(const StorageApiPtr& api, const Request& request)
{
    TRY(check_members(request.body, {"config", "attach"}));
    const JsonNode body{request.body};
    const bool attach = TRY(body.boolean_or("attach", false));
    if (attach != request.wants_link)
        return fail(Error{ErrorKind::Invalid, "an instance that somebody attends needs a link to its supervisor"}.hint(
            "send attach, and the header Upgrade: coppice-link"));
    const auto config = TRY(wanted(*api, TRY(body.get("config")).value()));
    auto link = TRY(api->instances->run(config, !attach));
    if (!attach) return created(TRY(instance_json(TRY(api->instances->find(config.name)))), path_of(config.name));
    Reply reply;
    reply.status = 101;
    reply.link = std::make_shared<const os::Fd>(std::move(link));
    return reply;
}

Result<Reply> remove_instance(const StorageApiPtr& api, const Request& request)
{
    TRY(api->instances->remove(request.param("name")));
    return no_content();
}

} // namespace

std::vector<StorageRow> instance_rows()
{
    using enum Method;
    return {{Get, "/v1/instances", "listInstances", "", list_instances},
            {Post, "/v1/instances", "runInstance", "InstanceStart", run_instance},
            {Get, "/v1/instances/{name}", "getInstance", "", get_instance},
            {Delete, "/v1/instances/{name}", "removeInstance", "", remove_instance}};
}

} // namespace coppice::daemon
