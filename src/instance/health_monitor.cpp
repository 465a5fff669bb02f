#include "health_monitor.h"

#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/os/file.h"
#include "coppice/runtime/container.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

namespace coppice::instance {

namespace {

constexpr std::size_t kMostProbes = 5;
constexpr std::size_t kMostOutput = 4096;
constexpr int kNoStatus = -1;

std::int64_t monotonic_ms()
{
    timespec time{};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000 + time.tv_nsec / 1'000'000;
}

/// As long as it lives our output and errors go to `target`: what is executed takes them as they are.
class Redirected {
public:
    explicit Redirected(const os::Fd& target)
    {
        for (const int fd : {STDOUT_FILENO, STDERR_FILENO})
            ::dup2(target.get(), fd);
    }
    Redirected(const Redirected&) = delete;
    Redirected& operator=(const Redirected&) = delete;
    ~Redirected()
    {
        for (const int fd : {STDOUT_FILENO, STDERR_FILENO})
            ::dup2(null_.get(), fd);
    }

private:
    os::Fd null_{::open("/dev/null", O_RDWR | O_CLOEXEC)};
};

} // namespace

HealthMonitor::HealthMonitor(os::EventLoop& loop, const HealthCheck& check, runtime::StateRoot root, std::string id,
                             const os::Fd& directory, os::TimerFd timer, std::function<void(Health)> changed)
    : loop_{&loop}, check_{&check}, root_{std::move(root)}, id_{std::move(id)}, directory_{&directory},
      timer_{std::move(timer)}, changed_{std::move(changed)}, began_ms_{monotonic_ms()}
{
}

Result<std::unique_ptr<HealthMonitor>> HealthMonitor::begin(os::EventLoop& loop, const HealthCheck& check,
                                                            runtime::StateRoot root, std::string id,
                                                            const os::Fd& directory,
                                                            std::function<void(Health)> changed)
{
    auto timer = TRY(os::TimerFd::make());
    std::unique_ptr<HealthMonitor> monitor{new HealthMonitor{loop, check, std::move(root), std::move(id), directory,
                                                             std::move(timer), std::move(changed)}};
    TRY(loop.add(monitor->timer_.fd(), EPOLLIN, [self = monitor.get()](std::uint32_t) { self->on_time(); }));
    TRY(monitor->timer_.set(check.interval_ms, 0));
    monitor->write_down();
    return monitor;
}

HealthMonitor::~HealthMonitor()
{
    if (output_.is_open()) loop_->remove(output_);
    if (process_.pid() > 0) loop_->remove(process_.pidfd());
    loop_->remove(timer_.fd());
    [[maybe_unused]] const auto removed = os::remove_file(directory_->get(), kHealthFile);
}

void HealthMonitor::on_time()
{
    timer_.clear();
    if (process_.pid() > 0) { // it has taken too long
        loop_->remove(process_.pidfd());
        process_ = os::Process{}; // killed
        return end_probe(kNoStatus);
    }
    probe_ = {.started = to_rfc3339(now()), .ended = {}, .status = 0, .output = {}};
    const auto started = start_probe();
    if (started) return;
    if (started.error().kind() == ErrorKind::Conflict) { // paused, or just ending: that says nothing of its health
        [[maybe_unused]] const auto set = timer_.set(check_->interval_ms, 0);
        return;
    }
    probe_.output = started.error().line();
    end_probe(kNoStatus);
}

Result<> HealthMonitor::start_probe()
{
    std::array<int, 2> ends{-1, -1};
    if (::pipe2(ends.data(), O_CLOEXEC) < 0) return fail_os(errno, "create a pipe");
    output_ = os::Fd{ends[0]};
    const os::Fd writing{ends[1]};
    ::fcntl(output_.get(), F_SETFL, O_NONBLOCK); // what it has started may hold the other end for ever
    runtime::ExecRequest request;
    request.id = id_;
    request.args = check_->command;
    {
        const Redirected redirected{writing};
        process_ = TRY(runtime::exec(root_, request));
    }
    TRY(loop_->add(process_.pidfd(), EPOLLIN, [this](std::uint32_t) {
        loop_->remove(process_.pidfd());
        const auto status = process_.wait();
        end_probe(status ? status->code : kNoStatus);
    }));
    TRY(loop_->add(output_, EPOLLIN, [this](std::uint32_t) { read_output(); }));
    return timer_.set(check_->timeout_ms, 0);
}

void HealthMonitor::read_output()
{
    std::array<char, 4096> buffer{};
    const auto got = os::retry_eintr([&] { return ::read(output_.get(), buffer.data(), buffer.size()); });
    if (got <= 0) {
        loop_->remove(output_);
        output_.reset();
        return;
    }
    const auto room = kMostOutput - std::min(kMostOutput, probe_.output.size());
    probe_.output.append(buffer.data(), std::min(room, static_cast<std::size_t>(got)));
}

void HealthMonitor::end_probe(int status)
{
    while (output_.is_open() && probe_.output.size() < kMostOutput)
        read_output();
    if (output_.is_open()) {
        loop_->remove(output_);
        output_.reset();
    }
    judge(status);
    [[maybe_unused]] const auto set = timer_.set(check_->interval_ms, 0);
}

void HealthMonitor::judge(int status)
{
    probe_.ended = to_rfc3339(now());
    probe_.status = status;
    report_.probes.push_back(std::move(probe_));
    if (report_.probes.size() > kMostProbes) report_.probes.erase(report_.probes.begin());
    const Health before = report_.health;
    if (status == 0) {
        report_.failing = 0;
        report_.health = Health::Healthy;
    } else if (before != Health::Starting || monotonic_ms() - began_ms_ >= check_->start_period_ms) {
        if (++report_.failing >= check_->retries) report_.health = Health::Unhealthy;
    }
    write_down();
    if (report_.health != before) changed_(report_.health);
}

void HealthMonitor::write_down() const
{
    // A full disk must not end what works; the daemon hears of it in any case.
    [[maybe_unused]] const auto written =
        os::replace_file(directory_->get(), kHealthFile, to_json(report_), 0600, false);
}

} // namespace coppice::instance
