#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "daemon_link.h"
#include "declare.h"
#include "listing.h"
#include "names.h"
#include "work.h"

namespace coppice::cli {

namespace {

struct Options {
    ListOptions list;
    std::string vdisk, tag, reference;
    bool remove = false;
};

std::string target_of(const Options& options)
{
    return cat(vdisk_target(options.vdisk), "/tags/", api::encode_segment(options.tag));
}

Result<int> run(const Options& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    if (options.remove) {
        TRY(change(client, "DELETE", target_of(options)));
        return 0;
    }
    if (!options.tag.empty()) {
        TRY(change(client, "PUT", target_of(options), nlohmann::json{{"snapshot", options.reference}}));
        return 0;
    }
    const auto vdisk = TRY(ask(client, vdisk_target(options.vdisk)));
    const auto tags = TRY(JsonNode{vdisk}.get("tags"));
    return print_list(tags.value(), options.list, "name",
                      {{"tag", Column::Kind::Text, "name"}, {"snapshot", Column::Kind::Id}});
}

std::string complaint(const Options& options)
{
    if (options.remove)
        return options.tag.empty() || !options.reference.empty() ? "-d takes a vdisk and a tag: tag -d VDISK TAG" : "";
    if (!options.tag.empty() && options.reference.empty()) return "a tag needs a snapshot: tag VDISK TAG REF";
    return "";
}

} // namespace

void add_tag(CLI::App& app, Command& chosen)
{
    auto [command, options] =
        declare<Options>(app, "tag", "Name a snapshot, list names, remove one", chosen, run, complaint);
    command.add_option("vdisk", options.vdisk, "Whose tags")->type_name("VDISK")->required()->check(check_not_empty);
    command.add_option("tag", options.tag, "Name to give; without: lists them")
        ->type_name("TAG")
        ->check(check_not_empty);
    command.add_option("snapshot", options.reference, "What it names from now on")
        ->type_name("REF")
        ->check(check_not_empty);
    command.add_flag("-d,--delete", options.remove, "Remove the tag; its snapshot stays");
    add_list_options(command, options.list, "Names only");
    command.footer("Examples: coppice tag debian good web-1\n"
                   "          coppice tag -d debian good");
}

} // namespace coppice::cli
