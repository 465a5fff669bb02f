#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "daemon_link.h"
#include "declare.h"
#include "names.h"
#include "vdisk.h"
#include "work.h"

namespace coppice::cli {

namespace {

struct Options {
    WorkOptions work;
    std::string what, message, state;
};

/// What is to become a version: what the words name, or else a snapshot that is made now.
Result<std::string> snapshot_of(const api::Client& client, const Options& options)
{
    if (options.what.find('@') != std::string::npos) return options.what;
    nlohmann::json body{{"message", options.message.empty() ? cat("committed from ", options.what) : options.message}};
    const auto made = TRY(carry_out(client, branch_target(options.what) + "/snapshots", std::move(body), options.work));
    COPPICE_CHECK(made.has_value()); // nobody has asked not to wait
    return TRY(JsonNode{*made}.get("id")).text();
}

Result<int> commit(const Options& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    const auto reference = TRY(snapshot_of(client, options));
    const auto snapshot = TRY(ask(client, snapshot_target(reference)));
    const std::string vdisk = TRY(TRY(JsonNode{snapshot}.get("vdisk")).text());
    nlohmann::json body{{"snapshot", TRY(TRY(JsonNode{snapshot}.get("id")).text())}};
    if (!options.state.empty()) body["state"] = options.state;
    const auto answer = TRY(change(client, "POST", vdisk_target(vdisk) + "/versions", std::move(body)));
    return print_version(vdisk, answer.body, options.work.format);
}

std::string complaint(const Options& options)
{
    if (!options.message.empty() && options.what.find('@') != std::string::npos)
        return "-m is for a snapshot that is made now; this one has its message";
    return "";
}

} // namespace

void add_commit(CLI::App& app, Command& chosen)
{
    auto [command, options] = declare<Options>(
        app, "commit", "Make what is in an instance or branch a new version of its vdisk", chosen, commit, complaint);
    command
        .add_option("name", options.what,
                    "Instance or branch; with @TAG or @-AGE behind it that snapshot, else what it holds now")
        ->type_name("NAME")
        ->required()
        ->check(check_not_empty);
    command.add_option("-m,--message", options.message, "What it is for")->type_name("TEXT");
    take_word(command.add_option("--state", options.state, "Of the new version (default: maintenance)"),
              "maintenance|test|production");
    take_format(command, options.work.format);
    command.footer("Example: coppice commit web -m 'with nginx' --state test");
}

} // namespace coppice::cli
