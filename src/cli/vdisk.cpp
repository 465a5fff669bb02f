#include "vdisk.h"

#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "daemon_link.h"
#include "declare.h"
#include "names.h"
#include "work.h"

#include <cstdio>

namespace coppice::cli {

namespace {

using Kind = Column::Kind;

struct LsOptions {
    ListOptions list;
};

/// Vdisks with what a table has room for: how many versions and tags instead of all about them.
Result<nlohmann::json> summed_up(nlohmann::json vdisks)
{
    if (!vdisks.is_array()) return fail(ErrorKind::Corrupt, "the answer of coppiced is no list");
    for (auto& vdisk : vdisks) {
        if (!vdisk.is_object()) return fail(ErrorKind::Corrupt, "the answer of coppiced is no list of vdisks");
        vdisk["versions"] = vdisk.value("versions", nlohmann::json::array()).size();
        vdisk["tags"] = vdisk.value("tags", nlohmann::json::array()).size();
    }
    return vdisks;
}

Result<int> list(const LsOptions& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    auto vdisks = TRY(ask(client, "/v1/vdisks"));
    if (options.list.format != "json") vdisks = TRY(summed_up(std::move(vdisks)));
    return print_list(vdisks, options.list, "name",
                      {{"name"}, {"default"}, {"pinned"}, {"versions"}, {"tags"}, {"created", Kind::Time}});
}

struct ShowOptions {
    ListOptions list;
    std::string name;
};

Result<int> show(const ShowOptions& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    const auto vdisk = TRY(ask(client, vdisk_target(options.name)));
    std::fputs(
        TRY(object_text(vdisk, options.list.format,
                        {{"name"}, {"id"}, {"created", Kind::Time}, {"default"}, {"pinned"}, {"seq"}, {"epoch"}}))
            .c_str(),
        stdout);
    if (options.list.format != "table") return 0;
    const JsonNode node{vdisk};
    for (const auto& [key, columns] :
         {std::pair{"versions", version_columns()},
          std::pair{"tags", std::vector<Column>{{"tag", Kind::Text, "name"}, {"snapshot", Kind::Id}}}}) {
        const auto part = TRY(node.find(key));
        if (!part || part->value().empty()) continue;
        std::fputs(cat('\n', TRY(list_text(part->value(), {}, "", columns))).c_str(), stdout);
    }
    return 0;
}

struct RenameOptions {
    std::string from, to, format = "text";
};

Result<int> rename(const RenameOptions& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    const auto answer = TRY(change(client, "PATCH", vdisk_target(options.from), nlohmann::json{{"name", options.to}}));
    if (options.format == "json") print_json(answer.body);
    return 0;
}

struct RmOptions {
    std::string name, format = "text";
    bool cascade = false;
};

Result<int> remove(const RmOptions& options, const GlobalOptions& global)
{
    const bool is_version = options.name.find(':') != std::string::npos;
    std::string target;
    if (is_version)
        target = version_target(TRY(parse_version_name(options.name)));
    else
        target = cat(vdisk_target(options.name), options.cascade ? "?cascade=true" : "");
    const auto client = TRY(reach_daemon(global));
    TRY(change(client, "DELETE", target));
    if (options.format == "json") print_json({{"removed", {options.name}}});
    return 0;
}

std::string rm_complaint(const RmOptions& options)
{
    if (options.name.find(':') == std::string::npos) return "";
    return options.cascade ? "--cascade is for whole vdisks: a version leaves its snapshot"
                           : check_version_name(options.name);
}

CLI::Option* take_vdisk(CLI::App& command, const char* key, std::string& name, const char* text)
{
    return command.add_option(key, name, text)->type_name("VDISK")->required()->check(check_not_empty);
}

} // namespace

void add_vdisk_lists(CLI::App& group, Command& chosen)
{
    auto [ls, ls_options] = declare<LsOptions>(group, "ls", "List vdisks", chosen, list);
    add_list_options(ls, ls_options.list, "Names only");
    ls.footer("Example: coppice vdisk ls --format json");

    auto [one, one_options] =
        declare<ShowOptions>(group, "show", "Show a vdisk with its versions and tags", chosen, show);
    take_vdisk(one, "vdisk", one_options.name, "Name of the vdisk");
    add_list_options(one, one_options.list, nullptr);
    one.footer("Example: coppice vdisk show debian");

    auto [renaming, rename_options] =
        declare<RenameOptions>(group, "rename", "Give a vdisk another name", chosen, rename);
    take_vdisk(renaming, "old", rename_options.from, "Its name");
    renaming.add_option("new", rename_options.to, "Its new name, free among vdisks and branches")
        ->type_name("NEW")
        ->required()
        ->check(check_not_empty);
    take_format(renaming, rename_options.format);
    renaming.footer("Example: coppice vdisk rename debian debian-12");

    auto [rm, rm_options] =
        declare<RmOptions>(group, "rm", "Remove a vdisk, or one version of it", chosen, remove, rm_complaint);
    rm.add_option("vdisk", rm_options.name, "Name of the vdisk; with :NUMBER the version alone, whose snapshot stays")
        ->type_name("VDISK[:NUMBER]")
        ->required()
        ->check(check_not_empty);
    rm.add_flag("--cascade", rm_options.cascade,
                "With its tags, branches and all snapshots, and what was written in the branches");
    take_format(rm, rm_options.format);
    rm.footer("Examples: coppice vdisk rm debian:2\n"
              "          coppice vdisk rm --cascade old");
}

void add_vdisk(CLI::App& app, Command& chosen)
{
    CLI::App* const group = app.add_subcommand("vdisk", "Golden images: import, versions, mounts, export");
    group->require_subcommand(1);
    for (auto* const add : {add_vdisk_import, add_vdisk_export, add_vdisk_lists, add_vdisk_versions, add_vdisk_mounts})
        add(*group, chosen);
    group->footer("Example: coppice vdisk import debian debian:bookworm && coppice vdisk mount debian /mnt");
}

} // namespace coppice::cli
