#include "coppice/instance/process_list.h"
#include "coppice/instance/usage.h"
#include "storage.h"

namespace coppice::daemon {

namespace {

using nlohmann::json;

Result<Reply> get_stats(const StorageApiPtr& api, const Request& request)
{
    const auto store = TRY(instance::InstanceStore::look(api->services.root));
    return Reply::json(to_json(TRY(instance::read_usage(store, request.param("name")))));
}

Result<Reply> get_processes(const StorageApiPtr& api, const Request& request)
{
    const auto store = TRY(instance::InstanceStore::look(api->services.root));
    json list = json::array();
    for (const auto& process : TRY(instance::read_processes(store, request.param("name"))))
        list.push_back(to_json(process));
    return Reply::json(std::move(list));
}

} // namespace

std::vector<StorageRow> instance_watch_rows()
{
    using enum Method;
    return {{Get, "/v1/instances/{name}/stats", "getInstanceStats", "", get_stats},
            {Get, "/v1/instances/{name}/processes", "listInstanceProcesses", "", get_processes}};
}

} // namespace coppice::daemon
