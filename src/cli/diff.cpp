#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "coppice/os/terminal.h"
#include "daemon_link.h"
#include "declare.h"
#include "diff_text.h"
#include "listing.h"
#include "names.h"
#include "patch.h"
#include "work.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>

namespace coppice::cli {

namespace {

struct Options {
    std::string from, to, format = "table";
    std::uint64_t most = UINT64_MAX;
    bool stat = false, patch = false, name_only = false;
};

/// All of it, or the first so many changes, page by page: a page is as much as the daemon tells at once.
Result<nlohmann::json> read_diff(const api::Client& client, const Options& options)
{
    constexpr std::uint64_t kPage = 100'000;
    std::string target = cat("/v1/diff?from=", api::encode_segment(options.from));
    if (!options.to.empty()) target += cat("&to=", api::encode_segment(options.to));
    auto diff = TRY(ask(client, cat(target, "&limit=", std::min(kPage, options.most))));
    for (;;) {
        const JsonNode node{diff};
        const auto changes = TRY(node.get("changes")).value().size();
        if (!TRY(node.boolean_or("truncated", false)) || changes == 0 || changes >= options.most) return diff;
        const JsonNode last{TRY(node.get("changes")).value().back()};
        const auto after = TRY(TRY(last.get("path")).text());
        auto page = TRY(ask(client, cat(target, "&limit=", std::min(kPage, options.most - changes),
                                        "&after=", api::encode_segment(after))));
        const auto more = TRY(JsonNode{page}.get("changes")).value();
        diff["truncated"] = TRY(JsonNode{page}.boolean_or("truncated", false));
        diff["changes"].insert(diff["changes"].end(), more.begin(), more.end());
        if (more.empty()) return diff;
    }
}

/// Of a branch alone the new side is what it has now, the old one the snapshot it stands on.
PatchSides sides_of(const Options& options)
{
    return {.old_files = snapshot_target(options.from) + "/files",
            .new_files = (options.to.empty() ? branch_target(options.from) : snapshot_target(options.to)) + "/files"};
}

std::size_t output_columns()
{
    constexpr std::size_t kOtherwise = 80;
    if (::isatty(STDOUT_FILENO) != 1) return kOtherwise;
    const auto size = os::terminal_size(STDOUT_FILENO);
    return size && size->columns > 0 ? size->columns : kOtherwise;
}

Result<> print_text(const api::Client& client, const FileChanges& diff, const Options& options)
{
    const Paint paint = Paint::for_output();
    std::string text;
    if (options.name_only)
        for (const FileChange& change : diff.changes)
            text += quoted_path(change.path) + '\n';
    else if (options.stat)
        text = cat(stat_lines(diff, output_columns(), paint), ' ', diff_summary(diff), '\n');
    else if (!options.patch)
        text = cat(change_lines(diff, paint), diff_summary(diff), '\n');
    std::fwrite(text.data(), 1, text.size(), stdout);
    if (options.patch) TRY(print_patch(client, sides_of(options), diff, paint));
    return {};
}

/// "A..B" as git has it; with a branch in front both may be its own: "web before..@-5m". What is left out is the
/// branch.
Options without_range(Options options)
{
    std::string& range = options.to.empty() ? options.from : options.to;
    const auto dots = range.find("..");
    if (dots == std::string::npos) return options;
    const std::string branch = options.to.empty() ? "" : options.from;
    const auto in_branch = [&branch](const std::string& which) {
        if (branch.empty() || which.empty()) return which.empty() ? branch : which;
        if (which.starts_with('@')) return branch + which;
        return which.find('@') == std::string::npos && which.find(':') == std::string::npos ? cat(branch, '@', which)
                                                                                            : which;
    };
    const std::string older = in_branch(range.substr(0, dots)), newer = in_branch(range.substr(dots + 2));
    options.from = older;
    options.to = newer;
    return options;
}

Result<int> compare(const Options& given, const GlobalOptions& global)
{
    const Options options = without_range(given);
    const auto client = TRY(reach_daemon(global));
    const auto answer = TRY(read_diff(client, options));
    const auto diff = TRY(parse_changes(answer));
    if (options.format == "json") {
        print_json(answer);
        return 0;
    }
    if (options.format == "csv")
        TRY(print_list(TRY(JsonNode{answer}.get("changes")).value(), {.format = "csv"}, "path",
                       {{"kind"}, {"path"}, {"old_mode"}, {"new_mode"}, {"old_bytes"}, {"new_bytes"}}));
    else
        TRY(print_text(client, diff, options));
    if (diff.truncated)
        std::fprintf(stderr, "coppice: these are the first %zu of %ju changes (more with --limit)\n",
                     diff.changes.size(), std::uintmax_t{diff.added + diff.removed + diff.changed});
    return 0;
}

std::string complaint(const Options& options)
{
    const int forms = int{options.stat} + int{options.patch} + int{options.name_only};
    if (forms > 1) return "--stat, --patch and --name-only exclude each other";
    if (forms > 0 && options.format != "table") return "--stat, --patch and --name-only have no other --format";
    return "";
}

} // namespace

void add_diff(CLI::App& app, Command& chosen)
{
    auto [command, options] =
        declare<Options>(app, "diff", "Show which files differ between two snapshots", chosen, compare, complaint);
    command.add_option("from", options.from, "The older one; a branch alone: what was written in it")
        ->type_name("REF")
        ->required()
        ->check(check_not_empty);
    command.add_option("to", options.to, "The newer one; or A..B: two snapshots by their tags or ages in that branch")
        ->type_name("REF")
        ->check(check_not_empty);
    command.add_flag("--stat", options.stat, "By how much each file grew or shrank, with bars");
    command.add_flag("-p,--patch", options.patch, "What changed in text files, as git and patch take it");
    command.add_flag("--name-only", options.name_only, "Paths only");
    command.add_option("--limit", options.most, "At most so many changes")->type_name("N")->check(CLI::PositiveNumber);
    take_word(command.add_option("--format", options.format, "Form of the output (default: table)"), "table|json|csv");
    command.footer("Examples: coppice diff debian:2 debian:3 --stat\n"
                   "          coppice diff web-1 --patch\n"
                   "          coppice diff web-1 before..@-5m");
}

} // namespace coppice::cli
