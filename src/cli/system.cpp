#include "coppice/base/json.h"
#include "coppice/base/json_text.h"
#include "coppice/base/text.h"
#include "coppice/os/process.h"
#include "daemon_link.h"
#include "declare.h"
#include "store_system.h"
#include "table.h"

#include <cstdio>

namespace coppice::cli {

namespace {

struct Options {
    std::string format = "table";
};

Result<int> info(const Options& options, const GlobalOptions& global)
{
    const auto form = TRY(Table::parse_form(options.format));
    const auto client = TRY(reach_daemon(global));
    const auto answer = TRY(client.call({.target = "/v1"}));
    if (form == Table::Form::Json) {
        std::puts(json_text(answer.body, 2).c_str());
        return 0;
    }
    const JsonNode server{answer.body};
    Table table{{"what", "value"}};
    table.add({"socket", client.socket()});
    for (const char* const name : {"version", "root", "started", "kernel", "cgroups"}) {
        auto value = TRY(TRY(server.get(name)).text());
        table.add({name, std::move(value)});
    }
    for (const char* const name : {"api_version", "pid", "uptime_seconds"})
        table.add({name, cat(TRY(TRY(server.get(name)).integer()))});
    TRY(server.each_member("operations", [&](const std::string& state, const JsonNode& count) -> Result<> {
        table.add({cat("operations ", state), cat(TRY(count.integer()))});
        return {};
    }));
    std::fputs(table.print(form).c_str(), stdout);
    return 0;
}

struct NoOptions {};

/// Returns when the daemon has ended, so that a next command starts another one.
Result<int> shut_down(const NoOptions& /*none*/, const GlobalOptions& global)
{
    const auto client = running_daemon(global);
    const auto server = TRY(client.call({.target = "/v1"}));
    const auto pid = static_cast<pid_t>(TRY(TRY(JsonNode{server.body}.get("pid")).integer(1, INT32_MAX)));
    const auto started = TRY(os::process_start_time(pid));
    const auto process = TRY(os::ProcessRef::find(pid, started.value_or(0)));
    const auto answer = TRY(client.call({.method = "POST", .target = "/v1/system/shutdown"}));
    const auto unfinished = TRY(TRY(JsonNode{answer.body}.get("unfinished_operations")).integer());
    if (unfinished > 0)
        std::fprintf(stderr, "coppice: %lld operations were interrupted\n", static_cast<long long>(unfinished));
    // It answers no more while it still holds its store: only then it has ended.
    constexpr int kPatienceMs = 60'000;
    if (!process || TRY(process->wait_gone(kPatienceMs))) return 0;
    return fail(Error{ErrorKind::Unavailable, "coppiced has not ended within a minute"}.hint("see its messages"));
}

} // namespace

void add_system(CLI::App& app, Command& chosen)
{
    CLI::App* const group = app.add_subcommand("system", "The daemon and its store: info, shutdown, df, gc, fsck");
    group->require_subcommand(1);
    auto [about, options] =
        declare<Options>(*group, "info", "Show what runs where, and what the host can do", chosen, info);
    take_word(about.add_option("--format", options.format, "Form of the output (default: table)"), "table|json|csv");
    about.footer("Example: coppice system info");
    auto [end, nothing] = declare<NoOptions>(
        *group, "shutdown", "End the daemon; the next command that needs it starts it again", chosen, shut_down);
    end.footer("Example: coppice system shutdown");
    add_store_system(*group, chosen);
}

} // namespace coppice::cli
