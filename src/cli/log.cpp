#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "daemon_link.h"
#include "declare.h"
#include "history.h"
#include "names.h"
#include "work.h"

#include <cstdio>
#include <set>
#include <unordered_map>

namespace coppice::cli {

namespace {

struct Options {
    std::string of, format = "text";
    std::uint64_t most = 0; ///< 0: all
    bool graph = false, one_line = false, quiet = false;
};

std::string list_target(const std::string& vdisk, std::uint64_t most)
{
    std::string target = "/v1/snapshots";
    if (!vdisk.empty()) target += cat("?vdisk=", api::encode_segment(vdisk));
    if (most > 0) target += cat(vdisk.empty() ? '?' : '&', "limit=", most);
    return target;
}

/// Whether `name` is a vdisk, all of whose tree is meant, or another reference, whose history is.
Result<bool> is_vdisk(const api::Client& client, const std::string& name)
{
    if (name.find_first_of(":@/") != std::string::npos) return false;
    const auto answer = client.call({.target = vdisk_target(name)});
    if (answer) return true;
    if (answer.error().kind() == ErrorKind::NotFound) return false;
    return fail(answer.error());
}

struct Fetched {
    nlohmann::json list;
    bool is_cut = false;
};

Result<Fetched> fetch_list(const api::Client& client, const Options& options)
{
    return Fetched{.list = TRY(ask(client, list_target(options.of, options.most)))};
}

/// From a snapshot back to its root, which may lead through several vdisks.
Result<Fetched> fetch_history(const api::Client& client, const std::string& reference, std::uint64_t most)
{
    auto next = TRY(ask(client, snapshot_target(reference)));
    nlohmann::json history = nlohmann::json::array();
    for (std::set<std::string> seen;;) {
        const JsonNode head{next};
        const auto vdisk = TRY(TRY(head.get("vdisk")).text());
        std::string at = TRY(TRY(head.get("id")).text());
        if (!seen.insert(at).second) return fail(ErrorKind::Corrupt, "the answers of coppiced go round in a circle");
        const auto list = TRY(ask(client, list_target(vdisk, 0)));
        std::unordered_map<std::string, const nlohmann::json*> known;
        for (const auto& document : list)
            known.emplace(TRY(TRY(JsonNode{document}.get("id")).text()), &document);
        for (auto found = known.find(at); found != known.end(); found = known.find(at)) {
            history.push_back(*found->second);
            at = TRY(JsonNode{*found->second}.text_or("parent", ""));
            known.erase(found);
            if (most > 0 && history.size() == most) return Fetched{.list = std::move(history), .is_cut = true};
        }
        if (at.empty()) return Fetched{.list = std::move(history)};
        next = TRY(ask(client, snapshot_target('@' + at)));
    }
}

Result<int> print(const std::vector<LoggedSnapshot>& snapshots, const Options& options, bool is_cut)
{
    const LogStyle style{.graph = options.graph, .one_line = options.one_line, .is_cut = is_cut};
    const auto text = log_text(snapshots, style, Paint::for_output());
    std::fwrite(text.data(), 1, text.size(), stdout);
    return 0;
}

Result<int> show(const Options& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    const bool whole = options.of.empty() || TRY(is_vdisk(client, options.of));
    const bool as_text = options.format == "text" && !options.quiet;
    if (as_text && whole) {
        const auto snapshots = TRY(read_snapshots(TRY(ask_for_text(client, list_target(options.of, options.most)))));
        return print(snapshots, options, options.most > 0 && snapshots.size() >= options.most);
    }
    const auto fetched = TRY(whole ? fetch_list(client, options) : fetch_history(client, options.of, options.most));
    if (as_text) return print(TRY(read_snapshots(fetched.list.dump())), options, fetched.is_cut);
    const ListOptions form{.format = options.format == "text" ? "table" : options.format, .quiet = options.quiet};
    return print_list(fetched.list, form, "id", snapshot_columns());
}

} // namespace

void add_log(CLI::App& app, Command& chosen)
{
    auto [command, options] = declare<Options>(app, "log", "Show the snapshots of a vdisk, newest first", chosen, show);
    command
        .add_option("of", options.of, "Vdisk: its whole tree. Another reference: what led to it. Without: all vdisks")
        ->type_name("REF")
        ->check(check_not_empty);
    command.add_flag("--graph", options.graph, "Draw the tree");
    command.add_flag("--oneline", options.one_line, "One line for each");
    command.add_option("-n,--number", options.most, "At most so many")->type_name("N")->check(CLI::PositiveNumber);
    command.add_flag("-q,--quiet", options.quiet, "Ids only");
    take_word(command.add_option("--format", options.format, "Form of the output (default: text)"), "text|json|csv");
    command.footer("Examples: coppice log --graph --oneline debian\n"
                   "          coppice log -n 5 web-1");
}

} // namespace coppice::cli
