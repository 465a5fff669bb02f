#include "command.h"
#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "daemon_link.h"
#include "listing.h"
#include "table.h"
#include "work.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

namespace coppice::cli {

namespace {

struct Options {
    std::vector<std::string> ids;
    std::string state, format = "table", patience;
    bool quiet = false, wait = false;
};
using OptionsPtr = std::shared_ptr<Options>;

std::string percent_of(const api::Progress& progress)
{
    return progress.total == 0 ? "" : cat(std::min(progress.done, progress.total) * 100 / progress.total, " %");
}

Result<int> list(const Options& options, const GlobalOptions& global)
{
    const auto form = TRY(Table::parse_form(options.format));
    const auto client = TRY(reach_daemon(global));
    const std::string filter = options.state.empty() ? "" : cat("?state=", api::encode_segment(options.state));
    const auto answer = TRY(client.call({.target = cat("/v1/operations", filter)}));
    Table table{{"id", "kind", "subject", "state", "progress", "created", "ended"}};
    for (const auto& document : answer.body) {
        const auto operation = TRY(api::parse_operation(document));
        if (options.quiet)
            std::puts(operation.id.c_str());
        else
            table.add({operation.id, operation.kind, operation.subject, std::string{api::word_of(operation.state)},
                       percent_of(operation.progress), operation.created, operation.ended});
    }
    if (!options.quiet) std::fputs(table.print(form).c_str(), stdout);
    return 0;
}

Result<int> show(const Options& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    const auto answer = TRY(client.call({.target = cat("/v1/operations/", api::encode_segment(options.ids.front()))}));
    print_json(answer.body);
    return 0;
}

/// Waits for one, and fails as it failed.
Result<> wait_for(const api::Client& client, const std::string& id, const Options& options)
{
    std::optional<std::chrono::milliseconds> patience;
    if (!options.patience.empty()) patience = std::chrono::milliseconds{TRY(parse_duration_ms(options.patience))};
    const auto result = TRY(wait_for_end(client, id, options.quiet, patience));
    if (!options.quiet && !result.is_null()) print_json(result);
    return {};
}

Result<int> wait(const Options& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    for (const std::string& id : options.ids)
        TRY(wait_for(client, id, options));
    return 0;
}

Result<int> cancel(const Options& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    for (const std::string& id : options.ids) {
        TRY(change(client, "DELETE", cat("/v1/operations/", api::encode_segment(id))));
        if (!options.wait) continue;
        const auto over = TRY(client.wait(id, {}));
        if (over.state == api::OperationState::Succeeded)
            return fail(ErrorKind::Conflict, cat("operation ", id, " was done before it could be stopped"));
    }
    return 0;
}

} // namespace

void add_operation(CLI::App& app, Command& chosen)
{
    CLI::App* const group = app.add_subcommand("operation", "Long-running work of the daemon: list, wait, cancel");
    group->require_subcommand(1);
    const auto add = [&](const char* name, const char* text, Result<int> (*run)(const Options&, const GlobalOptions&)) {
        auto options = std::make_shared<Options>();
        CLI::App* const command = group->add_subcommand(name, text);
        command->callback([options, run, &chosen] {
            chosen = [options, run](const GlobalOptions& global) { return run(*options, global); };
        });
        return std::pair{command, options};
    };
    const auto take_ids = [](CLI::App* command, const OptionsPtr& options, const char* help) {
        return command->add_option("ids", options->ids, help)->type_name("OPERATION")->required();
    };

    auto [ls, ls_options] = add("ls", "List those that run, and the newest of those that are over", list);
    ls->add_option("--state", ls_options->state, "Only those in this state")
        ->type_name("pending|running|succeeded|failed|cancelled|interrupted");
    ls->add_flag("-q,--quiet", ls_options->quiet, "Ids only");
    ls->add_option("--format", ls_options->format, "Form of the output (default: table)")->type_name("table|json|csv");

    auto [one, one_options] = add("show", "Show all about one, as JSON", show);
    take_ids(one, one_options, "Id of the operation")->expected(1);

    auto [waiting, wait_options] = add("wait", "Wait until they are over, with progress; fail as they fail", wait);
    take_ids(waiting, wait_options, "Ids of the operations");
    waiting->add_option("--timeout", wait_options->patience, "Give up after this time, for example 90s or 5m")
        ->type_name("TIME");
    waiting->add_flag("-q,--quiet", wait_options->quiet, "Show neither progress nor result");

    auto [cancelling, cancel_options] = add("cancel", "Ask them to stop", cancel);
    take_ids(cancelling, cancel_options, "Ids of the operations");
    cancelling->add_flag("--wait", cancel_options->wait, "Wait until they have stopped");
    group->footer("Example: coppice operation cancel $(coppice operation ls -q --state running)");
}

} // namespace coppice::cli
