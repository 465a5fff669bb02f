#include "coppice/instance/health.h"

#include "coppice/base/json.h"
#include "coppice/base/text.h"

#include <climits>
#include <nlohmann/json.hpp>

namespace coppice::instance {

std::string_view to_word(Health health)
{
    switch (health) {
    case Health::Starting: return "starting";
    case Health::Healthy: return "healthy";
    case Health::Unhealthy: return "unhealthy";
    }
    return {};
}

std::string to_json(const HealthReport& report)
{
    nlohmann::ordered_json document{
        {"status", to_word(report.health)}, {"failing", report.failing}, {"probes", nlohmann::ordered_json::array()}};
    for (const HealthReport::Probe& probe : report.probes)
        document["probes"].push_back({{"started", probe.started},
                                      {"ended", probe.ended},
                                      {"exitStatus", probe.status},
                                      {"output", probe.output}});
    return document.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

Result<HealthReport> parse_health(std::string_view text)
{
    const auto document = TRY(parse_json(text));
    const JsonNode node{document};
    HealthReport report;
    const auto status = TRY(TRY(node.get("status")).text());
    for (const Health health : {Health::Healthy, Health::Unhealthy})
        if (status == to_word(health)) report.health = health;
    report.failing = static_cast<int>(TRY(node.find_integer("failing", 0, INT_MAX)).value_or(0));
    TRY(node.each("probes", [&report](const JsonNode& entry) -> Result<> {
        HealthReport::Probe probe;
        probe.started = TRY(entry.text_or("started", ""));
        probe.ended = TRY(entry.text_or("ended", ""));
        probe.status = static_cast<int>(TRY(entry.find_integer("exitStatus", -1, 255)).value_or(0));
        probe.output = TRY(entry.text_or("output", ""));
        report.probes.push_back(std::move(probe));
        return {};
    }));
    return report;
}

} // namespace coppice::instance
