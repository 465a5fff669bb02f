#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "daemon_link.h"
#include "declare.h"
#include "instances.h"
#include "listing.h"
#include "names.h"
#include "work.h"

#include <cstdio>

namespace coppice::cli {

namespace {

struct ExportOptions {
    WorkOptions work;
    std::string name, file;
    bool with_volumes = false;
};

/// "; left out: volume /data, device /dev/fuse", or nothing
Result<std::string> left_out_of(const JsonNode& result)
{
    std::string text;
    for (const std::string& one : TRY(result.texts_or_none("left_out")))
        text += cat(text.empty() ? "; left out: " : ", ", printable(one));
    return text;
}

/// "/srv/web.coppice: 12.5 MiB, 3fa2…; left out: volume /data"
Result<std::string> sentence_of(const nlohmann::json& result)
{
    const JsonNode node{result};
    std::string text = cat(printable(TRY(TRY(node.get("path")).text())), ": ",
                           format_bytes(TRY(TRY(node.get("bytes")).unsigned_integer())), ", ",
                           printable(TRY(TRY(node.get("digest")).text())));
    return cat(text, TRY(left_out_of(node)));
}

Result<int> run_export(const ExportOptions& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    nlohmann::json body{{"path", TRY(absolute_here(options.file))}, {"with_volumes", options.with_volumes}};
    const auto result = TRY(carry_out(client, instance_target(options.name, "/export"), std::move(body), options.work));
    if (!result) return 0;
    if (options.work.format == "json")
        print_json(*result);
    else if (options.work.quiet)
        std::puts(TRY(TRY(JsonNode{*result}.get("path")).text()).c_str());
    else
        std::puts(TRY(sentence_of(*result)).c_str());
    return 0;
}

struct ImportOptions {
    WorkOptions work;
    std::string file, name;
    bool keep_privileges = false;
};

Result<int> run_import(const ImportOptions& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    nlohmann::json body{{"path", TRY(absolute_here(options.file))}};
    if (!options.name.empty()) body["name"] = options.name;
    if (options.keep_privileges) body["keep_privileges"] = true;
    const auto result = TRY(carry_out(client, "/v1/instance-imports", std::move(body), options.work));
    if (!result) return 0;
    if (options.work.format == "json")
        print_json(*result);
    else
        std::puts(cat(printable(TRY(TRY(JsonNode{*result}.get("name")).text())),
                      options.work.quiet ? "" : TRY(left_out_of(JsonNode{*result})))
                      .c_str());
    return 0;
}

} // namespace

void add_export(CLI::App& app, Command& chosen)
{
    auto [command, options] = declare<ExportOptions>(
        app, "export", "Write an instance into one file that another machine can run", chosen, run_export);
    command.add_option("name", options.name, "Name of the instance")->type_name("NAME")->required()->check(&not_empty);
    command.add_option("file", options.file, "File to write, which must not exist")
        ->type_name("PATH")
        ->required()
        ->check(&not_empty);
    command.add_flag("--with-volumes", options.with_volumes, "Also the directories of the host that it has inside");
    add_work_options(command, options.work, "No progress; of the result the path");
    command.footer("Example: coppice export web-1 /srv/web-1.coppice");
}

void add_import(CLI::App& app, Command& chosen)
{
    auto [command, options] = declare<ImportOptions>(
        app, "import", "Make an instance from a file that coppice export has written", chosen, run_import);
    command.add_option("file", options.file, "The file")->type_name("PATH")->required()->check(&not_empty);
    command.add_option("--name", options.name, "Name of the instance (default: the one that it had)")
        ->type_name("NAME")
        ->check(&not_empty);
    command.add_flag("--keep-privileges", options.keep_privileges,
                     "Also added capabilities, another seccomp filter and an AppArmor profile");
    add_work_options(command, options.work, "No progress; of the result the name");
    command.footer("Example: coppice import /srv/web-1.coppice --name web-2");
}

} // namespace coppice::cli
