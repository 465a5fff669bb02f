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
    auto features = nlohmann::json::array();
    for (const os::Feature& feature : host.features)
        features.push_back({{"name", feature.name},
                            {"available", feature.available},
                            {"required", feature.required},
                            {"needed_for", feature.needed_for},
                            {"otherwise", feature.otherwise}});
    const auto store = TRY(instance::InstanceStore::look(root));
    auto leftovers = nlohmann::json::array();
    for (const auto& leftover : TRY(instance::find_leftovers(store, instance::kContainerRoot)))
        leftovers.push_back({{"what", leftover.what}, {"where", leftover.where}});
    const bool healthy = host.is_able() && leftovers.empty();
    return nlohmann::json{{"healthy", healthy},
                          {"kernel", host.kernel},
                          {"cgroups", host.cgroups},
                          {"features", std::move(features)},
                          {"leftovers", std::move(leftovers)}};
}

} // namespace coppice::daemon
