#include "host.h"

#include "coppice/instance/leftovers.h"

namespace coppice::daemon {

nlohmann::json feature_switches(const instance::HostReport& host)
{
    auto switches = nlohmann::json::object();
    for (const os::Feature& feature : host.features)
        switches[feature.name] = feature.available;
    return switches;
}

Result<nlohmann::json> doctor_report(const instance::HostReport& host, const std::string& root)
{
    const auto store = TRY(instance::InstanceStore::look(root));
    auto leftovers = nlohmann::json::array();
    for (const auto& leftover : TRY(instance::find_leftovers(store, instance::kContainerRoot)))
        leftovers.push_back({{"what", leftover.what}, {"where", leftover.where}});
    auto report = instance::to_json(host);
    report["healthy"] = host.is_able() && leftovers.empty();
    report["leftovers"] = std::move(leftovers);
    return report;
}

} // namespace coppice::daemon
