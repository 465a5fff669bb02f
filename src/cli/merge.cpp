#include "coppice/base/json.h"
#include "daemon_link.h"
#include "declare.h"
#include "listing.h"
#include "names.h"
#include "work.h"

#include <cstdio>

namespace coppice::cli {

namespace {

struct Options {
    WorkOptions work;
    std::string reference, base, message;
    bool flatten = false;
};

Result<int> run(const Options& options, const GlobalOptions& global)
{
    nlohmann::json body = nlohmann::json::object();
    if (!options.base.empty()) body["base"] = options.base;
    if (options.flatten) body["flatten"] = true;
    if (!options.message.empty()) body["message"] = options.message;
    const auto client = TRY(reach_daemon(global));
    const auto merged =
        TRY(carry_out(client, snapshot_target(options.reference) + "/merge", std::move(body), options.work));
    if (!merged) return 0;
    if (options.work.format == "json")
        print_json(*merged);
    else
        std::puts(TRY(TRY(JsonNode{*merged}.get("id")).text()).c_str());
    return 0;
}

} // namespace

void add_merge(CLI::App& app, Command& chosen)
{
    auto [command, options] =
        declare<Options>(app, "merge", "Make one layer of several, as a new snapshot with the same files", chosen, run);
    command.add_option("snapshot", options.reference, "Which")->type_name("REF")->required()->check(check_not_empty);
    CLI::Option* const into =
        command
            .add_option("--into", options.base,
                        "Merge all layers above this snapshot (default: above the parent's parent)")
            ->type_name("REF")
            ->check(check_not_empty);
    command.add_flag("--flatten", options.flatten, "Merge all layers: the new snapshot has no parent")->excludes(into);
    command.add_option("-m,--message", options.message, "For the log")->type_name("TEXT");
    add_work_options(command, options.work, "No progress");
    command.footer("Example: coppice merge web-1 --into debian:3 -m \"one layer for all of web\"");
}

} // namespace coppice::cli
