#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "daemon_link.h"
#include "declare.h"
#include "local_time.h"
#include "names.h"
#include "vdisk.h"
#include "work.h"

#include <cstdio>

namespace coppice::cli {

const std::vector<Column>& version_columns()
{
    using Kind = Column::Kind;
    static const std::vector<Column> kColumns{{"version", Kind::Text, "number"},
                                              {"state"},
                                              {"snapshot", Kind::Id},
                                              {"pinned"},
                                              {"scheduled", Kind::Time},
                                              {"created", Kind::Time}};
    return kColumns;
}

Result<int> print_version(const std::string& vdisk, const nlohmann::json& version, const std::string& format)
{
    if (format == "json")
        print_json(version);
    else
        std::puts(cat(vdisk, ':', TRY(TRY(JsonNode{version}.get("number")).unsigned_integer())).c_str());
    return 0;
}

namespace {

struct ListVersionsOptions {
    ListOptions list;
    std::string vdisk;
};

Result<int> list(const ListVersionsOptions& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    const auto vdisk = TRY(ask(client, vdisk_target(options.vdisk)));
    const auto versions = TRY(JsonNode{vdisk}.get("versions"));
    return print_list(versions.value(), options.list, "number", version_columns());
}

struct PublishOptions {
    std::string vdisk, reference, state, format = "text";
};

Result<int> publish(const PublishOptions& options, const GlobalOptions& global)
{
    nlohmann::json body{{"snapshot", options.reference}};
    if (!options.state.empty()) body["state"] = options.state;
    const auto client = TRY(reach_daemon(global));
    const auto answer = TRY(change(client, "POST", vdisk_target(options.vdisk) + "/versions", std::move(body)));
    return print_version(options.vdisk, answer.body, options.format);
}

struct VersionOptions {
    std::string version, time, format = "text";
};

Result<int> promote(const VersionOptions& options, const GlobalOptions& global)
{
    const auto version = TRY(parse_version_name(options.version));
    const auto client = TRY(reach_daemon(global));
    const auto answer = TRY(change(client, "POST", version_target(version) + "/promote"));
    const auto state = TRY(TRY(JsonNode{answer.body}.get("state")).text());
    if (options.format == "json")
        print_json(answer.body);
    else
        std::puts(cat(options.version, " is in ", printable(state)).c_str());
    return 0;
}

Result<int> patch(const std::string& version, const nlohmann::json& body, const GlobalOptions& global)
{
    const auto target = version_target(TRY(parse_version_name(version)));
    const auto client = TRY(reach_daemon(global));
    TRY(change(client, "PATCH", target, body));
    return 0;
}

Result<int> schedule(const VersionOptions& options, const GlobalOptions& global)
{
    nlohmann::json time; // null: from now on
    if (options.time != "now") time = TRY(parse_moment(options.time, now().tv_sec));
    return patch(options.version, {{"scheduled", time}}, global);
}

std::string schedule_complaint(const VersionOptions& options)
{
    const auto time = options.time == "now" ? Result<std::string>{} : parse_moment(options.time, now().tv_sec);
    return time ? "" : time.error().message();
}

Result<int> pin(const VersionOptions& options, const GlobalOptions& global)
{
    return patch(options.version, {{"pinned", true}}, global);
}

struct UnpinOptions {
    std::string vdisk;
};

Result<int> unpin(const UnpinOptions& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    const auto vdisk = TRY(ask(client, vdisk_target(options.vdisk)));
    const auto pinned = TRY(JsonNode{vdisk}.find("pinned"));
    if (!pinned) return 0; // that is what was wanted
    const VersionName version{.vdisk = options.vdisk, .number = TRY(pinned->unsigned_integer())};
    TRY(change(client, "PATCH", version_target(version), nlohmann::json{{"pinned", false}}));
    return 0;
}

struct MergeOptions {
    WorkOptions work;
    std::string version, base, message;
};

/// "debian" is its default version.
Result<VersionName> version_meant(const api::Client& client, const std::string& text)
{
    if (text.find(':') != std::string::npos) return parse_version_name(text);
    const auto vdisk = TRY(ask(client, vdisk_target(text)));
    const auto standard = TRY(JsonNode{vdisk}.find("default"));
    if (!standard)
        return fail(Error{ErrorKind::NotFound, cat("vdisk ", printable(text), " has no version in production")}.hint(
            "name one, as in debian:3"));
    return VersionName{.vdisk = text, .number = TRY(standard->unsigned_integer())};
}

/// A chain of layers becomes one, and that a version in maintenance.
Result<int> merge(const MergeOptions& options, const GlobalOptions& global)
{
    nlohmann::json body = nlohmann::json::object();
    if (!options.base.empty()) body["base"] = options.base;
    if (!options.message.empty()) body["message"] = options.message;
    const auto client = TRY(reach_daemon(global));
    const auto version = TRY(version_meant(client, options.version));
    const auto merged = TRY(carry_out(client, version_target(version) + "/merge", std::move(body), options.work));
    return merged ? print_version(version.vdisk, *merged, options.work.format) : 0;
}

std::string merge_complaint(const MergeOptions& options)
{
    return options.version.find(':') == std::string::npos ? "" : check_version_name(options.version);
}

CLI::App& take_version(CLI::App& command, std::string& version)
{
    command.add_option("version", version, "Which, as in debian:3")
        ->type_name("VDISK:NUMBER")
        ->required()
        ->check(check_version_name);
    return command;
}

CLI::App& take_vdisk(CLI::App& command, std::string& vdisk)
{
    command.add_option("vdisk", vdisk, "Name of the vdisk")->type_name("VDISK")->required()->check(check_not_empty);
    return command;
}

} // namespace

void add_vdisk_versions(CLI::App& group, Command& chosen)
{
    auto [ls, ls_options] =
        declare<ListVersionsOptions>(group, "versions", "List the versions of a vdisk", chosen, list);
    take_vdisk(ls, ls_options.vdisk);
    add_list_options(ls, ls_options.list, "Numbers only");
    ls.footer("Example: coppice vdisk versions debian");

    auto [publishing, publish_options] =
        declare<PublishOptions>(group, "publish", "Make a snapshot a new version", chosen, publish);
    take_vdisk(publishing, publish_options.vdisk);
    publishing.add_option("snapshot", publish_options.reference, "Which: a branch, a tag, an id, a version of a vdisk")
        ->type_name("REF")
        ->required()
        ->check(check_not_empty);
    take_word(publishing.add_option("--state", publish_options.state, "Of the new version (default: maintenance)"),
              "maintenance|test|production");
    take_format(publishing, publish_options.format);
    publishing.footer("Example: coppice vdisk publish debian web-1 --state test");

    auto [promoting, promote_options] = declare<VersionOptions>(
        group, "promote", "Move a version on: from maintenance to test, from test to production", chosen, promote);
    take_version(promoting, promote_options.version);
    take_format(promoting, promote_options.format);
    promoting.footer("Example: coppice vdisk promote debian:4");

    auto [scheduling, schedule_options] = declare<VersionOptions>(
        group, "schedule", "Say from when on a version may be the default, once it is in production", chosen, schedule,
        schedule_complaint);
    take_version(scheduling, schedule_options.version)
        .add_option("time", schedule_options.time, "\"2026-12-01 04:00\" (local), 2026-12-01T04:00:00Z, +2h, or now")
        ->type_name("TIME")
        ->required();
    scheduling.footer("Example: coppice vdisk schedule debian:4 \"2026-12-01 04:00\" &&\n"
                      "         coppice vdisk promote debian:4 && coppice vdisk promote debian:4");

    auto [pinning, pin_options] =
        declare<VersionOptions>(group, "pin", "Make a version the default, whatever is newer", chosen, pin);
    take_version(pinning, pin_options.version);
    pinning.footer("Example: coppice vdisk pin debian:2");

    auto [unpinning, unpin_options] = declare<UnpinOptions>(
        group, "unpin", "Let the newest version in production be the default again", chosen, unpin);
    take_vdisk(unpinning, unpin_options.vdisk);
    unpinning.footer("Example: coppice vdisk unpin debian");

    auto [merging, merge_options] =
        declare<MergeOptions>(group, "merge", "Flatten the layers below a version, and publish that in maintenance",
                              chosen, merge, merge_complaint);
    merging.add_option("version", merge_options.version, "Which (default: the vdisk's default version)")
        ->type_name("VDISK[:NUMBER]")
        ->required()
        ->check(check_not_empty);
    merging.add_option("--base", merge_options.base, "Keep the layers up to this one below")->type_name("REF");
    merging.add_option("-m,--message", merge_options.message, "For the log")->type_name("TEXT");
    add_work_options(merging, merge_options.work, "No progress");
    merging.footer("Example: coppice vdisk merge debian:4 -m \"one layer\"");
}

} // namespace coppice::cli
