#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "daemon_link.h"
#include "declare.h"
#include "names.h"
#include "vdisk.h"
#include "work.h"

#include <cstdio>

namespace coppice::cli {

namespace {

struct ExportOptions {
    WorkOptions work;
    std::string reference, destination, form = "oci", name;
};

Result<int> export_snapshot(const ExportOptions& options, const GlobalOptions& global)
{
    nlohmann::json body{{"format", options.form}, {"path", TRY(absolute_here(options.destination))}};
    if (!options.name.empty()) body["reference"] = options.name;
    const auto client = TRY(reach_daemon(global));
    const auto result =
        TRY(carry_out(client, snapshot_target(options.reference) + "/export", std::move(body), options.work));
    if (!result) return 0;
    if (options.work.format == "json") {
        print_json(*result);
        return 0;
    }
    const JsonNode node{*result};
    const auto path = TRY(TRY(node.get("path")).text());
    const auto bytes = TRY(TRY(node.get("bytes")).unsigned_integer());
    const auto digest = TRY(node.text_or("digest", ""));
    if (options.work.quiet)
        std::puts(path.c_str());
    else
        std::puts(
            cat(printable(path), ": ", format_bytes(bytes), digest.empty() ? "" : ", ", printable(digest)).c_str());
    return 0;
}

std::string complaint(const ExportOptions& options)
{
    return !options.name.empty() && options.form != "oci" ? "--reference is for --as oci" : "";
}

} // namespace

void add_vdisk_export(CLI::App& group, Command& chosen)
{
    auto [command, options] = declare<ExportOptions>(group, "export", "Write a snapshot out as an image or an archive",
                                                     chosen, export_snapshot, complaint);
    command
        .add_option("snapshot", options.reference, "Which: a vdisk's default version, debian:3, a tag, a branch, an id")
        ->type_name("REF")
        ->required()
        ->check(check_not_empty);
    command
        .add_option("destination", options.destination,
                    "Directory (oci) or file (tar, flat) to write, which must not exist")
        ->type_name("PATH")
        ->required()
        ->check(check_not_empty);
    take_word(command.add_option("--as", options.form, "An OCI layout, a tar archive, or a disk image (default: oci)"),
              "oci|tar|flat");
    command.add_option("--reference", options.name, "Name of the image within the OCI layout")->type_name("IMAGE:TAG");
    add_work_options(command, options.work, "No progress; of the result the path");
    command.footer("Examples: coppice vdisk export debian /srv/debian-oci --reference debian:12\n"
                   "          podman pull oci:/srv/debian-oci:debian:12");
}

} // namespace coppice::cli
