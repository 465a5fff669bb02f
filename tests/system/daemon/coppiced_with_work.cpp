// coppiced with one more route, by which a test can have work done as long as it likes, and with small limits, so that
// they can be reached. All else is the daemon's own.

#include "coppice/base/json.h"
#include "coppice/base/log.h"
#include "coppice/daemon/service.h"

#include <thread>
#include <unistd.h>

using namespace coppice;
using namespace std::chrono_literals;

namespace {

/// Body: {"milliseconds": N, "ignores_stop": BOOL, "fails": BOOL}
Result<daemon::Reply> work(daemon::Services& services, const daemon::Request& request)
{
    const JsonNode body{request.body};
    const auto milliseconds = static_cast<std::uint64_t>(TRY(TRY(body.get("milliseconds")).integer(0, 600'000)));
    const bool ignores_stop = TRY(body.boolean_or("ignores_stop", false));
    const bool fails = TRY(body.boolean_or("fails", false));
    const auto run = [=](daemon::OperationContext& context) -> Result<nlohmann::json> {
        for (std::uint64_t i = 0; i < milliseconds; i += 10) {
            if (context.stop().stop_requested() && !ignores_stop)
                return fail(ErrorKind::Unavailable, "stopped halfway");
            context.show({.done = i << 20, .total = milliseconds << 20, .unit = "bytes", .stage = "working"});
            std::this_thread::sleep_for(10ms);
        }
        if (fails) return fail(Error{ErrorKind::Corrupt, "the work was bad"}.hint("do better"));
        return nlohmann::json{{"milliseconds", milliseconds}};
    };
    return daemon::accepted(TRY(services.operations.start("test.work", "/v1/test/work", run)));
}

} // namespace

int main(int argc, char** argv)
{
    if (argc != 3) return 2;
    daemon::DaemonOptions options;
    options.root = argv[1];
    options.socket = argv[2];
    options.version = "test";
    options.limits.header_time = options.limits.body_time = options.limits.write_time = 1s;
    options.limits.idle = 3s;
    options.limits.heartbeat = 500ms;
    options.limits.connections = 100;
    options.operations = {.running = 2, .waiting = 4, .history = 20};
    options.patience = 3s;
    log::configure("coppiced", STDERR_FILENO, log::Format::Text, log::Level::Info);
    const auto status = daemon::run_daemon(options, [](daemon::Services& services) {
        std::vector<daemon::Route> routes;
        routes.push_back({.method = daemon::Method::Post,
                          .path = "/v1/test/work",
                          .id = "work",
                          .verb = daemon::Verb::Change,
                          .body_schema = "Work",
                          .long_running = true,
                          .handler = [&services](const daemon::Request& request) { return work(services, request); }});
        routes.push_back({.method = daemon::Method::Get,
                          .path = "/v1/test/block",
                          .id = "block",
                          .handler = [](const daemon::Request&) -> Result<daemon::Reply> {
                              for (;;) // whatever it is told
                                  std::this_thread::sleep_for(1s);
                          }});
        return Result<std::vector<daemon::Route>>{std::move(routes)};
    });
    if (status) return *status;
    log::error("", status.error().line());
    return 1;
}
