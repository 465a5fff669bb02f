#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "daemon_link.h"
#include "declare.h"
#include "names.h"
#include "vdisk.h"
#include "work.h"

#include <cstdio>
#include <cstdlib>
#include <unistd.h>

namespace coppice::cli {

namespace {

struct ImportOptions {
    WorkOptions work;
    std::string name, source, message, state, architecture, authfile, mirror;
    std::vector<std::string> file_systems;
    std::optional<unsigned> partition, threads;
    bool plain_http = false;
};

/// Where the logins of whoever calls are kept: the daemon has others. Empty: there are none.
std::string own_authfile()
{
    const auto below = [](const char* variable, const char* path) {
        const char* const value = ::getenv(variable);
        return value == nullptr || *value == '\0' ? std::string{} : cat(value, path);
    };
    for (const std::string& file : {below("REGISTRY_AUTH_FILE", ""), below("XDG_RUNTIME_DIR", "/containers/auth.json"),
                                    below("HOME", "/.docker/config.json")})
        if (!file.empty() && ::access(file.c_str(), R_OK) == 0) return file;
    return "";
}

Result<nlohmann::json> request_of(const ImportOptions& options)
{
    nlohmann::json body{{"name", options.name}, {"source", options.source}};
    const auto add = [&body](const char* key, const std::string& value) {
        if (!value.empty()) body[key] = value;
    };
    add("message", options.message);
    add("state", options.state);
    add("architecture", options.architecture);
    add("mirror", options.mirror);
    const std::string authfile =
        options.authfile.empty() && options.source.starts_with("docker://") ? own_authfile() : options.authfile;
    if (!authfile.empty()) body["authfile"] = TRY(absolute_here(authfile));
    if (options.plain_http) body["plain_http"] = true;
    if (options.partition) body["partition"] = *options.partition;
    if (options.threads) body["threads"] = *options.threads;
    if (!options.file_systems.empty()) body["file_systems"] = options.file_systems;
    return body;
}

/// "debian:3 is snapshot 3fa2b1c9d0e1: 12345 files, 300 MiB; 25 MiB of it new, stored in 9 MiB"
Result<std::string> sentence_of(const nlohmann::json& result)
{
    const JsonNode node{result};
    const auto count = [&node](const char* key) -> Result<std::uint64_t> {
        return TRY(node.get(key)).unsigned_integer();
    };
    const auto vdisk = TRY(TRY(node.get("vdisk")).text());
    const auto snapshot = TRY(TRY(node.get("snapshot")).text());
    return cat(printable(vdisk), ':', TRY(count("version")), " is snapshot ", printable(short_id(snapshot)), ": ",
               TRY(count("files")), " files, ", format_bytes(TRY(count("bytes"))), "; ", TRY(count("new_chunks")),
               " of ", TRY(count("chunks")), " chunks are new, stored in ",
               format_bytes(TRY(count("new_stored_bytes"))));
}

Result<int> import(const ImportOptions& options, const GlobalOptions& global)
{
    auto request = TRY(request_of(options));
    const auto client = TRY(reach_daemon(global));
    const auto result = TRY(carry_out(client, "/v1/vdisks", std::move(request), options.work));
    if (!result) return 0;
    if (options.work.format == "json")
        print_json(*result);
    else if (options.work.quiet)
        std::puts(TRY(TRY(JsonNode{*result}.get("snapshot")).text()).c_str());
    else
        std::puts(TRY(sentence_of(*result)).c_str());
    return 0;
}

Result<int> import_source(const ImportOptions& options, const GlobalOptions& global)
{
    ImportOptions own = options;
    own.source = TRY(absolute_source(options.source, TRY(working_directory())));
    return import(own, global);
}

Result<int> capture(const ImportOptions& options, const GlobalOptions& global)
{
    ImportOptions own = options;
    own.source = options.source.empty() ? "machine:" : cat("ssh://", options.source);
    return import(own, global);
}

void take_common(CLI::App& command, ImportOptions& options)
{
    command.add_option("-m,--message", options.message, "What it is, for the log")->type_name("TEXT");
    take_word(command.add_option("--state", options.state,
                                 "Of the new version (default: production for a vdisk's first, else maintenance)"),
              "maintenance|test|production");
    command.add_option("--threads", options.threads, "How many threads read and pack (default: one per core)")
        ->type_name("N")
        ->check(CLI::Range(1, 1024));
    add_work_options(command, options.work, "No progress; of the result the snapshot's id");
}

} // namespace

void add_vdisk_import(CLI::App& group, Command& chosen)
{
    auto [command, options] =
        declare<ImportOptions>(group, "import", "Make a new version of a vdisk from an image", chosen, import_source);
    command.add_option("vdisk", options.name, "Name of the vdisk, which need not exist")
        ->type_name("VDISK")
        ->required()
        ->check(check_not_empty);
    command
        .add_option("source", options.source,
                    "Directory, archive, image, disk, docker://REFERENCE, debian:SUITE, ubuntu:SUITE, or as in the "
                    "manual page")
        ->type_name("SOURCE")
        ->required()
        ->check(check_not_empty);
    command.add_option("--arch", options.architecture, "Of an image with several, as amd64 (default: this machine's)")
        ->type_name("ARCHITECTURE");
    command
        .add_option("--authfile", options.authfile,
                    "Credentials for a registry, as of skopeo login (default: your own)")
        ->type_name("PATH");
    command.add_flag("--plain-http", options.plain_http, "Speak to the registry without TLS");
    command.add_option("--partition", options.partition, "Of a disk, from 1 on (default: the one with a Linux root)")
        ->type_name("N")
        ->check(CLI::Range(1, 128));
    command.add_option("--mirror", options.mirror, "Package archive of a suite")->type_name("URL");
    take_common(command, options);
    command.footer("Examples: coppice vdisk import debian debian:bookworm\n"
                   "          coppice vdisk import web docker://docker.io/library/nginx:1.27 -m \"nginx 1.27\"\n"
                   "          coppice vdisk import old /backup/server.qcow2 --partition 2");

    auto [grab, grab_options] = declare<ImportOptions>(
        group, "capture", "Make a new version of a vdisk from a running machine", chosen, capture);
    grab.add_option("vdisk", grab_options.name, "Name of the vdisk, which need not exist")
        ->type_name("VDISK")
        ->required()
        ->check(check_not_empty);
    grab.add_option("host", grab_options.source, "Machine to read over ssh as root (default: this one)")
        ->type_name("[USER@]HOST")
        ->check(check_not_empty);
    grab.add_option("--file-system", grab_options.file_systems,
                    "Mounted file system to take, may be repeated (default: /)")
        ->type_name("DIR")
        ->expected(1)
        ->take_all();
    take_common(grab, grab_options);
    grab.footer("Example: coppice vdisk capture server root@192.0.2.7 --file-system / --file-system /home");
}

} // namespace coppice::cli
