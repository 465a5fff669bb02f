#pragma once

#include "coppice/instance/health.h"
#include "coppice/instance/policy.h"
#include "coppice/os/event_loop.h"
#include "coppice/os/process.h"
#include "coppice/runtime/state.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace coppice::instance {

/// Runs an instance's health check from time to time, one at once, and writes down what it tells.
class HealthMonitor {
public:
    /// @param loop of a single-threaded process, which is the one that forks; it, `check` and `directory` (the
    /// instance's) are borrowed @param changed called with each change of the health
    static Result<std::unique_ptr<HealthMonitor>> begin(os::EventLoop& loop, const HealthCheck& check,
                                                        runtime::StateRoot root, std::string id,
                                                        const os::Fd& directory, std::function<void(Health)> changed);
    HealthMonitor(const HealthMonitor&) = delete;
    HealthMonitor& operator=(const HealthMonitor&) = delete;
    ~HealthMonitor();

private:
    HealthMonitor(os::EventLoop& loop, const HealthCheck& check, runtime::StateRoot root, std::string id,
                  const os::Fd& directory, os::TimerFd timer, std::function<void(Health)> changed);
    void on_time();
    Result<> start_probe();
    void read_output();
    void end_probe(int status);
    void judge(int status);
    void write_down() const;

    os::EventLoop* loop_;
    const HealthCheck* check_;
    runtime::StateRoot root_;
    std::string id_;
    const os::Fd* directory_;
    os::TimerFd timer_; ///< until the next probe; while one runs, until it has taken too long
    std::function<void(Health)> changed_;
    std::int64_t began_ms_;
    HealthReport report_;
    HealthReport::Probe probe_; ///< the one that runs
    os::Process process_;       ///< none when none runs
    os::Fd output_;
};

} // namespace coppice::instance
