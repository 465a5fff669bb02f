#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "daemon_link.h"
#include "declare.h"
#include "names.h"
#include "vdisk.h"
#include "work.h"

#include <cstdio>

namespace coppice::cli {

namespace {

struct MountOptions {
    std::string reference, path, format = "text";
    bool branch = false, devices = false, setuid = false, quiet = false;
};

Result<int> mount(const MountOptions& options, const GlobalOptions& global)
{
    nlohmann::json body{{options.branch ? "branch" : "ref", options.reference},
                        {"path", TRY(absolute_here(options.path))}};
    if (options.devices) body["devices"] = true;
    if (options.setuid) body["setuid"] = true;
    const auto client = TRY(reach_daemon(global));
    const auto answer = TRY(change(client, "POST", "/v1/mounts", std::move(body)));
    const JsonNode mounted{answer.body};
    const auto path = TRY(TRY(mounted.get("path")).text());
    const auto snapshot = TRY(TRY(mounted.get("snapshot")).text());
    const auto how = TRY(mounted.text_or("how", ""));
    if (options.format == "json")
        print_json(answer.body);
    else if (!options.quiet)
        std::puts(
            cat(printable(path), ": snapshot ", printable(short_id(snapshot)), how.empty() ? "" : ", ", printable(how))
                .c_str());
    return 0;
}

struct UnmountOptions {
    std::string path;
};

/// The id of the last mount there, which lies on top.
Result<std::string> find_mount(const api::Client& client, const std::string& path)
{
    const auto mounts = TRY(ask(client, "/v1/mounts"));
    std::string id;
    for (const auto& document : mounts) {
        const JsonNode node{document};
        if (TRY(TRY(node.get("path")).text()) == path) id = TRY(TRY(node.get("id")).text());
    }
    if (id.empty())
        return fail(Error{ErrorKind::NotFound, cat("nothing of coppice is mounted at ", path)}.hint(
            "see: coppice vdisk mounts"));
    return id;
}

Result<int> unmount(const UnmountOptions& options, const GlobalOptions& global)
{
    const auto path = TRY(absolute_here(options.path));
    const auto client = TRY(reach_daemon(global));
    const auto id = TRY(find_mount(client, path));
    TRY(change(client, "DELETE", cat("/v1/mounts/", api::encode_segment(id))));
    return 0;
}

struct MountsOptions {
    ListOptions list;
};

Result<int> list(const MountsOptions& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    const auto mounts = TRY(ask(client, "/v1/mounts"));
    return print_list(mounts, options.list, "path",
                      {{"path"}, {"snapshot", Column::Kind::Id}, {"branch"}, {"how"}, {"id"}});
}

} // namespace

void add_vdisk_mounts(CLI::App& group, Command& chosen)
{
    auto [command, options] =
        declare<MountOptions>(group, "mount", "Mount a snapshot, read-only, or a branch", chosen, mount);
    command
        .add_option("snapshot", options.reference, "Which: a vdisk's default version, debian:3, a tag, a branch, an id")
        ->type_name("REF")
        ->required()
        ->check(check_not_empty);
    command.add_option("path", options.path, "Directory to mount it on")
        ->type_name("DIR")
        ->required()
        ->check(check_not_empty);
    command.add_flag("--branch", options.branch, "REF is a branch: mount it writable, with what was written in it");
    command.add_flag("--devices", options.devices, "Let its device nodes be opened");
    command.add_flag("--setuid", options.setuid, "Let its set-user-id programs take effect");
    command.add_flag("-q,--quiet", options.quiet, "Do not say how it was mounted");
    take_format(command, options.format);
    command.footer("Examples: coppice vdisk mount debian:3 /mnt\n"
                   "          coppice branch web-1 debian && coppice vdisk mount --branch web-1 /srv/web");

    auto [un, un_options] = declare<UnmountOptions>(group, "umount", "Unmount what `mount` mounted", chosen, unmount);
    un.add_option("path", un_options.path, "Where it is mounted")
        ->type_name("MOUNT")
        ->required()
        ->check(check_not_empty);
    un.footer("Example: coppice vdisk umount /mnt");

    auto [ls, ls_options] = declare<MountsOptions>(group, "mounts", "List what is mounted where", chosen, list);
    add_list_options(ls, ls_options.list, "Paths only");
    ls.footer("Example: coppice vdisk mounts");
}

} // namespace coppice::cli
