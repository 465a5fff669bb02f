#include "coppice/base/id.h"
#include "coppice/base/json.h"
#include "coppice/base/json_text.h"
#include "coppice/base/text.h"
#include "coppice/instance/config.h"
#include "coppice/os/process.h"
#include "coppice/storage/reference.h"
#include "storage.h"

#include <algorithm>

namespace coppice::daemon {

namespace {

using nlohmann::json;

std::string path_of(const std::string& name) { return cat("/v1/instances/", name); }

Result<json> instance_json(const node::Instances::Known& known)
{
    auto document = TRY(parse_json(instance::to_json(known.config)));
    document["state"] = node::to_word(known.state);
    if (known.health) document["healthReport"] = TRY(parse_json(instance::to_json(*known.health)));
    return document;
}

Result<Reply> reply_with(const StorageApi& api, const std::string& name)
{
    return with_etag(TRY(instance_json(TRY(api.instances->find(name)))));
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
    instance::forget_runs(config);
    if (config.root.starts_with('/')) {
        config.snapshot.clear();
        TRY(instance::apply_image_config(config, {}));
        return config;
    }
    return api.store().read([&](const store::View& view) -> Result<instance::InstanceConfig> {
        const auto snapshot = TRY(storage::resolve(view, config.root)).snapshot;
        config.snapshot = snapshot.id.hex();
        TRY(instance::apply_image_config(config, TRY(store::config_of(view, snapshot.id))));
        return config;
    });
}

/// Whether somebody attends what is to be started.
Result<bool> attached(const Request& request)
{
    const bool attach = TRY(JsonNode{request.body}.boolean_or("attach", false));
    if (attach == request.wants_link) return attach;
    return fail(Error{ErrorKind::Invalid, "an instance that somebody attends needs a link to its supervisor"}.hint(
        "send attach, and the header Upgrade: coppice-link"));
}

Reply link_reply(os::Fd link)
{
    Reply reply;
    reply.status = 101;
    reply.link = std::make_shared<const os::Fd>(std::move(link));
    return reply;
}

Result<Reply> run_instance(const StorageApiPtr& api, const Request& request)
{
    TRY(check_members(request.body, {"config", "attach", "start"}));
    const JsonNode body{request.body};
    const bool attach = TRY(attached(request));
    const bool start = TRY(body.boolean_or("start", true));
    const auto config = TRY(wanted(*api, TRY(body.get("config")).value()));
    if (!start && attach) return fail(ErrorKind::Invalid, "there is nothing to attend before it starts");
    if (!start) {
        TRY(api->instances->create(config));
    } else if (auto link = TRY(api->instances->run(config, !attach)); attach) {
        return link_reply(std::move(link));
    }
    return created(TRY(instance_json(TRY(api->instances->find(config.name)))), path_of(config.name));
}

Result<Reply> start_instance(const StorageApiPtr& api, const Request& request)
{
    TRY(check_members(request.body, {"attach"}));
    const bool attach = TRY(attached(request));
    auto link = TRY(api->instances->start(request.param("name"), !attach));
    return attach ? link_reply(std::move(link)) : reply_with(*api, request.param("name"));
}

Result<int> signal_in(const JsonNode& node) { return with_context(os::parse_signal(TRY(node.text())), node.path()); }

Result<instance::StopWish> stop_wish(const Request& request)
{
    TRY(check_members(request.body, {"signal", "timeoutSeconds"}));
    const JsonNode body{request.body};
    instance::StopWish wish;
    if (const auto signal = TRY(body.find("signal"))) wish.signal = TRY(signal_in(*signal));
    if (const auto seconds = TRY(body.find_integer("timeoutSeconds", 0, instance::kMaxStopTimeout)))
        wish.patience = std::chrono::seconds{*seconds};
    return wish;
}

Result<Reply> stop_instance(const StorageApiPtr& api, const Request& request)
{
    TRY(api->instances->stop(request.param("name"), TRY(stop_wish(request))));
    return no_content();
}

Result<Reply> restart_instance(const StorageApiPtr& api, const Request& request)
{
    TRY(api->instances->restart(request.param("name"), TRY(stop_wish(request))));
    return no_content();
}

Result<Reply> kill_instance(const StorageApiPtr& api, const Request& request)
{
    TRY(check_members(request.body, {"signal"}));
    TRY(api->instances->kill(request.param("name"), TRY(signal_in(TRY(JsonNode{request.body}.get("signal"))))));
    return no_content();
}

/// A step that needs no more than the name.
template <auto Step> Result<Reply> simply(const StorageApiPtr& api, const Request& request)
{
    TRY((*api->instances.*Step)(request.param("name")));
    return no_content();
}

template <bool Keep> Result<Reply> decide(const StorageApiPtr& api, const Request& request)
{
    TRY(api->instances->decide(request.param("name"), Keep));
    return no_content();
}

Result<Reply> branch_instance(const StorageApiPtr& api, const Request& request)
{
    TRY(check_members(request.body, {"names", "from"}));
    const JsonNode body{request.body};
    node::Instances::BranchWish wish;
    wish.names = TRY(TRY(body.get("names")).texts());
    wish.author = author_of(request);
    if (wish.names.empty()) return fail(TRY(body.get("names")).complain("must name the new instances"));
    for (const std::string& name : wish.names) {
        TRY_DOING(cat("instance name '", printable(name), "'"), check_name(name));
        if (std::count(wish.names.begin(), wish.names.end(), name) > 1)
            return fail(TRY(body.get("names")).complain(cat("has ", name, " more than once")));
    }
    if (const auto from = TRY(body.find("from"))) wish.from = TRY(snapshot_named(*api, TRY(from->text())));
    const auto snapshot = TRY(api->instances->branch(request.param("name"), wish));
    return Reply::json({{"snapshot", snapshot.hex()}, {"names", wish.names}}, {});
}

Result<Reply> rename_instance(const StorageApiPtr& api, const Request& request)
{
    TRY(check_members(request.body, {"name"}));
    const auto name = TRY(TRY(JsonNode{request.body}.get("name")).text());
    TRY(api->instances->rename(request.param("name"), name));
    return reply_with(*api, name);
}

/// What can be changed of an instance that is there, as RFC 7396 merges it: null takes a limit away.
Result<Reply> update_instance(const StorageApiPtr& api, const Request& request)
{
    TRY(check_members(request.body, {"memoryBytes", "swapBytes", "millicpus", "cpuWeight", "ioWeight", "pids",
                                     "restart", "labels", "stopSignal", "stopTimeoutSeconds", "onStop", "snapshots"}));
    TRY(api->instances->update(request.param("name"), [&](instance::InstanceConfig& config) -> Result<> {
        auto document = TRY(parse_json(instance::to_json(config)));
        document.merge_patch(request.body);
        config = TRY(instance::parse_instance_config(json_text(document)));
        return {};
    }));
    return reply_with(*api, request.param("name"));
}

} // namespace

std::vector<StorageRow> instance_rows()
{
    using enum Method;
    using node::Instances;
    return {{Get, "/v1/instances", "listInstances", "", list_instances},
            {Post, "/v1/instances", "runInstance", "InstanceStart", run_instance},
            {Get, "/v1/instances/{name}", "getInstance", "", get_instance},
            {Patch, "/v1/instances/{name}", "updateInstance", "InstanceUpdate", update_instance},
            {Delete, "/v1/instances/{name}", "removeInstance", "", simply<&Instances::remove>},
            {Post, "/v1/instances/{name}/start", "startInstance", "StartRequest", start_instance},
            {Post, "/v1/instances/{name}/stop", "stopInstance", "StopRequest", stop_instance},
            {Post, "/v1/instances/{name}/restart", "restartInstance", "StopRequest", restart_instance},
            {Post, "/v1/instances/{name}/kill", "killInstance", "KillRequest", kill_instance},
            {Post, "/v1/instances/{name}/pause", "pauseInstance", "", simply<&Instances::pause>},
            {Post, "/v1/instances/{name}/resume", "resumeInstance", "", simply<&Instances::resume>},
            {Post, "/v1/instances/{name}/branch", "branchInstance", "InstanceBranch", branch_instance},
            {Post, "/v1/instances/{name}/rename", "renameInstance", "RenameRequest", rename_instance},
            {Post, "/v1/instances/{name}/keep", "keepInstance", "", decide<true>},
            {Post, "/v1/instances/{name}/undo", "undoInstance", "", decide<false>}};
}

} // namespace coppice::daemon
