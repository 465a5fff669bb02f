#include "coppice/base/text.h"
#include "coppice/os/cgroup_stats.h"
#include "coppice/os/event_loop.h"
#include "coppice/runtime/control.h"
#include "resources.h"
#include "stats_json.h"

#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <unistd.h>

namespace coppice::runtime {

namespace {

Result<StateRecord> find_running(const StateRoot& root, const std::string& id)
{
    const auto directory = TRY(root.find(id));
    auto record = TRY(directory.read_state());
    TRY(need_cgroup(record));
    const auto status = TRY(status_of(directory, record));
    if (status == Status::Stopped || status == Status::Creating)
        return fail(ErrorKind::Conflict, cat("container not running: ", id));
    return record;
}

std::string event_line(const char* type, const std::string& id, const nlohmann::ordered_json& data)
{
    nlohmann::ordered_json event{{"type", type}, {"id", id}};
    if (!data.is_null()) event["data"] = data;
    return event.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Result<std::string> stats_line(const StateRecord& record)
{
    return event_line("stats", record.id, to_json(TRY(os::read_cgroup_stats(record.cgroup))));
}

} // namespace

Result<std::string> stats_event(const StateRoot& root, const std::string& id)
{
    return stats_line(TRY(find_running(root, id)));
}

Result<> watch_events(const StateRoot& root, const std::string& id, int interval_ms,
                      const std::function<bool(const std::string& line)>& tell)
{
    const auto record = TRY(find_running(root, id));
    const auto init = TRY(os::ProcessRef::find(record.pid, record.start_time));
    if (!init) return {}; // it has just ended
    auto memory = os::OomWatch::open(record.cgroup);
    if (!memory && memory.error().kind() != ErrorKind::Unsupported) return fail(memory.error());
    const auto timer = TRY(os::TimerFd::make());
    TRY(timer.set(interval_ms, interval_ms));
    for (;;) {
        std::array<pollfd, 3> waiting{{{.fd = init->pidfd().get(), .events = POLLIN, .revents = 0},
                                       {.fd = memory ? memory->fd().get() : -1, .events = POLLIN, .revents = 0},
                                       {.fd = timer.fd().get(), .events = POLLIN, .revents = 0}}};
        if (os::retry_eintr([&] { return ::poll(waiting.data(), waiting.size(), -1); }) < 0)
            return fail_os(errno, "wait for events");
        const bool ended = waiting[0].revents != 0;
        if (memory && (waiting[1].revents != 0 || ended)) // a lack of memory may be what ended it
            for (auto times = TRY(memory->happened()); times > 0; --times)
                if (!tell(event_line("oom", id, nullptr))) return {};
        if (ended) return {};
        if (waiting[2].revents == 0) continue;
        timer.clear();
        const auto line = stats_line(record);
        if (!line) // its end may have come in between, and with it that of its cgroup
            return TRY(init->wait_gone(0)) ? Result<>{} : fail(line.error());
        if (!tell(*line)) return {};
    }
}

} // namespace coppice::runtime
