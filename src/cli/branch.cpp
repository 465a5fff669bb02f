#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "daemon_link.h"
#include "declare.h"
#include "diff_text.h"
#include "instances.h"
#include "listing.h"
#include "names.h"
#include "work.h"

#include <cstdio>

namespace coppice::cli {

namespace {

struct BranchOptions {
    ListOptions list;
    std::string name, from, removed;
    int number = 1;
};

/// "web" or "web@before", when there is an instance web: it is the one to be branched, not the new one's name.
bool names_instance(const std::string& text, const GlobalOptions& global)
{
    const auto store = instance::InstanceStore::look(global.root);
    return store && store->find_directory(text.substr(0, text.find('@'))).has_value();
}

/// @param what the instance, with or without @WHICH
Result<int> branch_instance(const std::string& what, const std::string& name, int number, const GlobalOptions& global)
{
    nlohmann::json names = nlohmann::json::array();
    if (number == 1) names.push_back(name);
    for (int i = 1; number > 1 && i <= number; ++i)
        names.push_back(cat(name, '-', i));
    nlohmann::json body{{"names", names}};
    if (what.find('@') != std::string::npos) body["from"] = what;
    const auto client = TRY(reach_daemon(global));
    TRY(change(client, "POST", instance_target(what.substr(0, what.find('@')), "/branch"), body));
    for (const auto& one : names)
        std::puts(one.get_ref<const std::string&>().c_str());
    return 0;
}

Result<int> branch(const BranchOptions& options, const GlobalOptions& global)
{
    if (!options.from.empty() && names_instance(options.name, global))
        return branch_instance(options.name, options.from, options.number, global);
    if (options.number > 1) return fail(ErrorKind::Invalid, cat("-n is for instances, and ", options.name, " is none"));
    const auto client = TRY(reach_daemon(global));
    if (!options.removed.empty()) {
        TRY(change(client, "DELETE", branch_target(options.removed)));
        return 0;
    }
    if (!options.name.empty()) {
        TRY(change(client, "POST", "/v1/branches", nlohmann::json{{"name", options.name}, {"from", options.from}}));
        return 0;
    }
    return print_list(TRY(ask(client, "/v1/branches")), options.list, "name",
                      {{"name"},
                       {"snapshot", Column::Kind::Id},
                       {"vdisk"},
                       {"created", Column::Kind::Time},
                       {"mounts", Column::Kind::Words}});
}

std::string branch_complaint(const BranchOptions& options)
{
    if (!options.removed.empty() && !options.name.empty()) return "-d takes one name and nothing else";
    if (!options.name.empty() && options.from.empty())
        return "a new branch needs a snapshot to stand on: branch NAME REF";
    return "";
}

struct RollbackOptions {
    std::string branch, to, format = "text";
};

/// "; thrown away: what was written in it, 2 added, ..." Whoever writes meanwhile makes it unknown, and that is no
/// reason not to roll back.
std::string told_losses(const api::Client& client, const std::string& branch)
{
    const auto answer = ask(client, cat("/v1/diff?limit=0&from=", api::encode_segment(branch)));
    if (!answer) return "";
    const auto lost = parse_changes(*answer);
    if (!lost || lost->added + lost->removed + lost->changed == 0) return "";
    return cat("; what was written in it is gone: ", diff_summary(*lost));
}

Result<int> roll_back(const RollbackOptions& options, const GlobalOptions& global)
{
    // "web@before" is both: the branch, and a snapshot by what it has to do with that branch.
    const std::string branch = options.to.empty() ? options.branch.substr(0, options.branch.find('@')) : options.branch;
    const std::string& to = options.to.empty() ? options.branch : options.to;
    const auto client = TRY(reach_daemon(global));
    const std::string losses = told_losses(client, branch);
    const auto answer = TRY(change(client, "POST", branch_target(branch) + "/rollback", nlohmann::json{{"to", to}}));
    const auto snapshot = TRY(TRY(JsonNode{answer.body}.get("snapshot")).text());
    if (options.format == "json")
        print_json(answer.body);
    else
        std::puts(cat(branch, " stands on ", printable(short_id(snapshot)), losses).c_str());
    return 0;
}

std::string rollback_complaint(const RollbackOptions& options)
{
    if (options.to.empty() && options.branch.find('@') == std::string::npos)
        return "it needs a snapshot to stand on: rollback BRANCH REF, or rollback BRANCH@TAG";
    return "";
}

struct CheckoutOptions {
    std::string branch, from, format = "text";
    std::vector<std::string> paths;
};

Result<int> check_out(const CheckoutOptions& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    const auto answer = TRY(change(client, "POST", branch_target(options.branch) + "/checkout",
                                   nlohmann::json{{"from", options.from}, {"paths", options.paths}}));
    if (options.format == "json") {
        print_json(answer.body);
        return 0;
    }
    for (const std::string& path : TRY(JsonNode{answer.body}.texts_or_none("paths")))
        std::puts(printable(path).c_str());
    return 0;
}

void take_branch(CLI::App& command, std::string& name)
{
    command.add_option("branch", name, "Name of the branch")->type_name("BRANCH")->required()->check(check_not_empty);
}

} // namespace

void add_branch(CLI::App& app, Command& chosen)
{
    auto [command, options] = declare<BranchOptions>(app, "branch", "List writable branches, make one, remove one",
                                                     chosen, branch, branch_complaint);
    command
        .add_option("name", options.name, "Name of the new branch, free among vdisks and branches; without: lists them")
        ->type_name("NEW")
        ->check(check_not_empty);
    command.add_option("from", options.from, "Snapshot it stands on")->type_name("REF")->check(check_not_empty);
    command.add_option("-n,--number", options.number, "Of an instance: so many, NEW-1, NEW-2 ...")
        ->type_name("NUMBER")
        ->check(CLI::Range(1, 10'000));
    command.add_option("-d,--delete", options.removed, "Remove this branch, with what was written in it")
        ->type_name("BRANCH")
        ->check(check_not_empty);
    add_list_options(command, options.list, "Names only");
    command.footer(
        "Examples: coppice branch web-1 debian:3\n"
        "          coppice branch -n 10 web try     INSTANCE[@WHICH] NEW: instances like it, on what it holds\n"
        "          coppice branch -d web-1");
}

void add_rollback(CLI::App& app, Command& chosen)
{
    auto [command, options] =
        declare<RollbackOptions>(app, "rollback", "Put a branch back onto a snapshot, without what was written since",
                                 chosen, roll_back, rollback_complaint);
    command.add_option("branch", options.branch, "Name of the branch; alone: with @TAG or @-AGE behind it")
        ->type_name("BRANCH")
        ->required()
        ->check(check_not_empty);
    command.add_option("to", options.to, "Snapshot to stand on")->type_name("REF")->check(check_not_empty);
    take_format(command, options.format);
    command.footer("Examples: coppice rollback web-1 debian@good\n"
                   "          coppice rollback web-1@-5m");
}

void add_checkout(CLI::App& app, Command& chosen)
{
    auto [command, options] =
        declare<CheckoutOptions>(app, "checkout", "Take single files of a snapshot into a branch", chosen, check_out);
    take_branch(command, options.branch);
    command.add_option("from", options.from, "Snapshot to take them from")
        ->type_name("REF")
        ->required()
        ->check(check_not_empty);
    command.add_option("paths", options.paths, "Files and directories, from the root of the snapshot")
        ->type_name("FILE")
        ->required()
        ->check(check_not_empty);
    take_format(command, options.format);
    command.footer("Example: coppice checkout web-1 debian:3 /etc/nginx /etc/hosts");
}

} // namespace coppice::cli
