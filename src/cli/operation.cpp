#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "daemon_link.h"
#include "declare.h"
#include "listing.h"
#include "names.h"
#include "work.h"

#include <algorithm>
#include <cstdio>

namespace coppice::cli {

namespace {

std::string operation_target(const std::string& id) { return cat("/v1/operations/", api::encode_segment(id)); }

struct LsOptions {
    ListOptions list;
    std::string state;
};

/// With a number that a table has room for in the place of the progress.
Result<nlohmann::json> summed_up(const nlohmann::json& operations)
{
    nlohmann::json rows = nlohmann::json::array();
    for (const auto& document : operations) {
        const auto progress = TRY(api::parse_operation(document)).progress;
        auto row = document;
        row["progress"] =
            progress.total == 0 ? "" : cat(std::min(progress.done, progress.total) * 100 / progress.total, " %");
        rows.push_back(std::move(row));
    }
    return rows;
}

Result<int> list(const LsOptions& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    const std::string filter = options.state.empty() ? "" : cat("?state=", api::encode_segment(options.state));
    auto operations = TRY(ask(client, cat("/v1/operations", filter)));
    if (options.list.format != "json") operations = TRY(summed_up(operations));
    return print_list(operations, options.list, "id",
                      {{"id"}, {"kind"}, {"subject"}, {"state"}, {"progress"}, {"created"}, {"ended"}});
}

struct ShowOptions {
    std::string id;
};

Result<int> show(const ShowOptions& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    print_json(TRY(ask(client, operation_target(options.id))));
    return 0;
}

struct WaitOptions {
    std::vector<std::string> ids;
    std::string patience, format = "text";
    bool quiet = false;
};

/// Waits for each, and fails as the first one fails. As JSON, what they have become; as text, the results alone.
Result<int> wait(const WaitOptions& options, const GlobalOptions& global)
{
    std::optional<std::chrono::milliseconds> patience;
    if (!options.patience.empty()) patience = std::chrono::milliseconds{TRY(parse_duration_ms(options.patience))};
    const auto client = TRY(reach_daemon(global));
    nlohmann::json over = nlohmann::json::array();
    Result<nlohmann::json> result;
    for (const std::string& id : options.ids) {
        result = wait_for_end(client, id, options.quiet, patience);
        if (options.format == "json") {
            auto operation = ask(client, operation_target(id));
            if (operation) over.push_back(*std::move(operation));
        } else if (result && !options.quiet && !result->is_null()) {
            print_json(*result);
        }
        if (!result) break;
    }
    if (options.format == "json") print_json(over);
    if (!result) return fail(std::move(result).error());
    return 0;
}

struct CancelOptions {
    std::vector<std::string> ids;
    std::string format = "text";
    bool wait = false;
};

Result<int> cancel(const CancelOptions& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    nlohmann::json cancelled = nlohmann::json::array();
    for (const std::string& id : options.ids) {
        auto answer = TRY(change(client, "DELETE", operation_target(id)));
        if (options.wait) {
            const auto over = TRY(client.wait(id, {}));
            if (over.state == api::OperationState::Succeeded)
                return fail(ErrorKind::Conflict, cat("operation ", id, " was done before it could be stopped"));
            answer.body = api::to_json(over);
        }
        cancelled.push_back(std::move(answer.body));
    }
    if (options.format == "json") print_json(cancelled);
    return 0;
}

CLI::Option* take_ids(CLI::App& command, std::vector<std::string>& ids)
{
    return command.add_option("ids", ids, "Ids of the operations")
        ->type_name("OPERATION")
        ->required()
        ->check(check_not_empty);
}

} // namespace

void add_operation(CLI::App& app, Command& chosen)
{
    CLI::App* const group = app.add_subcommand("operation", "Long-running work of the daemon: list, wait, cancel");
    group->require_subcommand(1);

    auto [ls, ls_options] =
        declare<LsOptions>(*group, "ls", "List those that run, and the newest of those that are over", chosen, list);
    take_word(ls.add_option("--state", ls_options.state, "Only those in this state"),
              "pending|running|succeeded|failed|cancelled|interrupted");
    add_list_options(ls, ls_options.list, "Ids only");
    ls.footer("Example: coppice operation ls --state running");

    auto [one, one_options] = declare<ShowOptions>(*group, "show", "Show all about one, as JSON", chosen, show);
    one.add_option("ids", one_options.id, "Id of the operation")
        ->type_name("OPERATION")
        ->required()
        ->check(check_not_empty);
    one.footer("Example: coppice operation show 4d1f0a9be27c");

    auto [waiting, wait_options] = declare<WaitOptions>(
        *group, "wait", "Wait until they are over, with progress; fail as they fail", chosen, wait);
    take_ids(waiting, wait_options.ids);
    waiting.add_option("--timeout", wait_options.patience, "Give up after this time, for example 90s or 5m")
        ->type_name("TIME")
        ->check(check_duration);
    waiting.add_flag("-q,--quiet", wait_options.quiet, "Show neither progress nor result");
    take_format(waiting, wait_options.format);
    waiting.footer("Example: coppice operation wait $(coppice vdisk import debian debian:bookworm --detach)");

    auto [cancelling, cancel_options] = declare<CancelOptions>(*group, "cancel", "Ask them to stop", chosen, cancel);
    take_ids(cancelling, cancel_options.ids);
    cancelling.add_flag("--wait", cancel_options.wait, "Wait until they have stopped");
    take_format(cancelling, cancel_options.format);
    cancelling.footer("Example: coppice operation cancel $(coppice operation ls -q --state running)");
    group->footer("Example: coppice operation cancel $(coppice operation ls -q --state running)");
}

} // namespace coppice::cli
