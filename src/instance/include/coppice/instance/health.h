#pragma once

#include "coppice/base/result.h"

#include <string>
#include <string_view>
#include <vector>

namespace coppice::instance {

enum class Health : unsigned char { Starting, Healthy, Unhealthy };
std::string_view to_word(Health health);

/// What an instance's health check has told lately; kept as health.json while it runs. Source: docker's State.Health
struct HealthReport {
    Health health = Health::Starting;
    int failing = 0; ///< failures one after another
    struct Probe {
        std::string started, ended; ///< RFC 3339
        int status = 0;             ///< of the command; -1: it took too long, or could not be run
        std::string output;         ///< its beginning
    };
    std::vector<Probe> probes; ///< the last five, oldest first
};
std::string to_json(const HealthReport& report);
Result<HealthReport> parse_health(std::string_view text);

inline constexpr const char* kHealthFile = "health.json";

} // namespace coppice::instance
