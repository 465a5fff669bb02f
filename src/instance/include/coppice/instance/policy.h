#pragma once

#include "coppice/base/result.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

/// What becomes of an instance, and of what it wrote, when it stops.
namespace coppice::instance {

/// What becomes of its writes.
enum class Mode : unsigned char {
    Private, ///< they stay and are found again at the next start
    Shared,  ///< they are undone: a clean start every time
};
std::string_view to_word(Mode mode);
Result<Mode> parse_mode(std::string_view word);

/// What is done at the stop of a private instance.
enum class OnStop : unsigned char {
    Keep,   ///< nothing
    Ask,    ///< somebody decides: `coppice keep` or `coppice undo`; until then it does not start
    Branch, ///< the writes become a snapshot, and the next start is a clean one
};
std::string_view to_word(OnStop what);
Result<OnStop> parse_on_stop(std::string_view word); ///< "discard" is a mode, not among them

/// When an instance that has stopped is started again by itself. Source: docker's and podman's --restart
struct RestartPolicy {
    enum class When : unsigned char {
        No,
        OnFailure,     ///< its exit status was not 0, or nobody knows it
        Always,        ///< also one that somebody stopped, when the daemon starts
        UnlessStopped, ///< but for one that somebody stopped
    };
    When when = When::No;
    int most = 0; ///< of OnFailure: gives up after so many; 0: never
    bool operator==(const RestartPolicy&) const = default;
};
/// "no", "on-failure[:NUMBER]", "always", "unless-stopped". Errors: Invalid
Result<RestartPolicy> parse_restart(std::string_view text);
std::string to_text(const RestartPolicy& policy);

/// A command that is run inside from time to time, and tells by its exit status 0 that the instance does its work.
/// Source: docker's HEALTHCHECK
struct HealthCheck {
    std::vector<std::string> command;
    std::int64_t interval_ms = 30'000;
    std::int64_t timeout_ms = 30'000; ///< what takes longer has failed, and is killed
    std::int64_t start_period_ms = 0; ///< failures count for nothing so long after the start
    int retries = 3;                  ///< failures one after another that make it unhealthy
    bool operator==(const HealthCheck&) const = default;
};

} // namespace coppice::instance
