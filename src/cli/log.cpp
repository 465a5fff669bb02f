#include "coppice/base/text.h"
#include "daemon_link.h"
#include "declare.h"
#include "history.h"
#include "names.h"
#include "work.h"

#include <cstdio>

namespace coppice::cli {

namespace {

struct Options {
    std::string of, format = "text";
    std::uint64_t most = 0; ///< 0: all
    bool graph = false, one_line = false, quiet = false;
};

/// @param by what `of` is: "vdisk" or "history"
std::string list_target(std::string_view by, const std::string& of, std::uint64_t most)
{
    std::string target = "/v1/snapshots";
    if (!of.empty()) target += cat('?', by, '=', api::encode_segment(of));
    if (most > 0) target += cat(of.empty() ? '?' : '&', "limit=", most);
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

Result<int> show(const Options& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    const bool whole = options.of.empty() || TRY(is_vdisk(client, options.of));
    const std::string target = list_target(whole ? "vdisk" : "history", options.of, options.most);
    if (options.format != "text" || options.quiet) {
        const ListOptions form{.format = options.format == "text" ? "table" : options.format, .quiet = options.quiet};
        return print_list(TRY(ask(client, target)), form, "id", snapshot_columns());
    }
    const auto snapshots = TRY(read_snapshots(TRY(ask_for_text(client, target))));
    const LogStyle style{.graph = options.graph,
                         .one_line = options.one_line,
                         .is_cut = options.most > 0 && snapshots.size() >= options.most};
    const auto text = log_text(snapshots, style, Paint::for_output());
    std::fwrite(text.data(), 1, text.size(), stdout);
    return 0;
}

} // namespace

void add_log(CLI::App& app, Command& chosen)
{
    auto [command, options] = declare<Options>(app, "log", "Show the snapshots of a vdisk, newest first", chosen, show);
    command
        .add_option("of", options.of,
                    "Vdisk: its whole tree. Branch or instance: what led to it and was taken of it. Another reference: "
                    "what led to "
                    "it. Without: all vdisks")
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
