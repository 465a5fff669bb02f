#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "daemon_link.h"
#include "declare.h"
#include "history.h"
#include "names.h"
#include "work.h"

#include <cstdio>

namespace coppice::cli {

namespace {

using Kind = Column::Kind;

struct CreateOptions {
    WorkOptions work;
    std::string branch, message, wait, tag;
    bool force = false;
};

/// Of a snapshot that an operation or a call made: its id for scripts, all of it as JSON.
Result<int> print_made(const nlohmann::json& snapshot, const WorkOptions& work)
{
    if (work.format == "json")
        print_json(snapshot);
    else
        std::puts(TRY(TRY(JsonNode{snapshot}.get("id")).text()).c_str());
    return 0;
}

/// Of an instance that runs: how long it stood still.
Result<> tell_pause(const nlohmann::json& snapshot)
{
    const auto pause = TRY(JsonNode{snapshot}.find_integer("pauseMicroseconds", 0));
    if (!pause) return {};
    std::fprintf(stderr, "halted for %s ms\n", cat((*pause + 500) / 1000).c_str());
    return {};
}

Result<int> create(const CreateOptions& options, const GlobalOptions& global)
{
    nlohmann::json body = nlohmann::json::object();
    if (!options.message.empty()) body["message"] = options.message;
    if (!options.wait.empty()) body["wait"] = options.wait;
    if (!options.tag.empty()) body["tag"] = options.tag;
    if (options.force) body["force"] = true;
    const auto client = TRY(reach_daemon(global));
    const auto made =
        TRY(carry_out(client, branch_target(options.branch) + "/snapshots", std::move(body), options.work));
    if (!made) return 0;
    if (!options.work.quiet) TRY(tell_pause(*made));
    return print_made(*made, options.work);
}

std::string create_complaint(const CreateOptions& options)
{
    if (options.force && options.tag.empty()) return "--force is for --tag";
    return options.work.detach && options.wait != "sealed"
               ? "--detach is for --wait sealed: anything else takes no time"
               : "";
}

struct LsOptions {
    ListOptions list;
    std::string vdisk;
};

Result<int> list(const LsOptions& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    const std::string filter = options.vdisk.empty() ? "" : cat("?vdisk=", api::encode_segment(options.vdisk));
    return print_list(TRY(ask(client, "/v1/snapshots" + filter)), options.list, "id", snapshot_columns());
}

struct ShowOptions {
    ListOptions list;
    std::string reference;
};

Result<int> show(const ShowOptions& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    const auto snapshot = TRY(ask(client, snapshot_target(options.reference)));
    const auto text = TRY(object_text(snapshot, options.list.format,
                                      {{"id"},
                                       {"vdisk"},
                                       {"parent"},
                                       {"state"},
                                       {"created", Kind::Time},
                                       {"author"},
                                       {"message"},
                                       {"size", Kind::Bytes, "bytes"},
                                       {"stored for it alone", Kind::Bytes, "own_bytes"},
                                       {"stored with others", Kind::Bytes, "shared_bytes"},
                                       {"depth"},
                                       {"versions"},
                                       {"tags"},
                                       {"branches"},
                                       {"layer"},
                                       {"manifest"},
                                       {"dependents"},
                                       {"config"}}));
    std::fputs(text.c_str(), stdout);
    return 0;
}

struct RmOptions {
    std::vector<std::string> references;
    std::string format = "text";
    bool cascade = false;
};

/// Prints the ids of all that went, also when another one could not.
Result<int> remove(const RmOptions& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    nlohmann::json removed = nlohmann::json::array();
    Result<api::Client::Answer> answer;
    for (const std::string& reference : options.references) {
        answer = change(client, "DELETE", cat(snapshot_target(reference), options.cascade ? "?cascade=true" : ""));
        if (!answer) break;
        for (const std::string& id : TRY(JsonNode{answer->body}.texts_or_none("removed"))) {
            removed.push_back(id);
            if (options.format == "text") std::puts(printable(id).c_str());
        }
    }
    if (options.format == "json") print_json({{"removed", std::move(removed)}});
    if (!answer) return fail(std::move(answer).error());
    return 0;
}

struct SealOptions {
    WorkOptions work;
    std::string reference;
    bool accept = false;
};

Result<int> seal(const SealOptions& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    const auto sealed = TRY(carry_out(client, snapshot_target(options.reference) + "/seal",
                                      nlohmann::json{{"accept", options.accept}}, options.work));
    return sealed ? print_made(*sealed, options.work) : 0;
}

struct MessageOptions {
    std::string reference, text;
};

Result<int> set_message(const MessageOptions& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    TRY(change(client, "PATCH", snapshot_target(options.reference), nlohmann::json{{"message", options.text}}));
    return 0;
}

CLI::App& take_reference(CLI::App& command, std::string& reference)
{
    command.add_option("snapshot", reference, "Which: an id or its beginning, a branch, a tag, a version")
        ->type_name("REF")
        ->required()
        ->check(check_not_empty);
    return command;
}

void add_create_of(CLI::App& group, Command& chosen)
{
    auto [command, options] =
        declare<CreateOptions>(group, "create", "Make what is in a branch a snapshot, which nothing changes any more",
                               chosen, create, create_complaint);
    command.add_option("branch", options.branch, "Name of the branch")
        ->type_name("BRANCH")
        ->required()
        ->check(check_not_empty);
    command.add_option("-m,--message", options.message, "What it is, for the log")->type_name("TEXT");
    take_word(
        command.add_option("--wait", options.wait,
                           "Return when it is there (frozen), when a power cut cannot take it any more (durable, the "
                           "default), or when it is signed and in the store (sealed)"),
        "frozen|durable|sealed");
    command.add_option("--tag", options.tag, "Give it this tag of its vdisk")->type_name("TAG")->check(check_not_empty);
    command.add_flag("--force", options.force, "Move the tag when there is one of this name already");
    add_work_options(command, options.work, "No progress");
    command.footer("Example: coppice snapshot create web-1 -m \"before the upgrade\"");
}

} // namespace

void add_snapshot(CLI::App& app, Command& chosen)
{
    CLI::App* const group = app.add_subcommand("snapshot", "Snapshots: create, list, show, remove, seal");
    group->require_subcommand(1);
    add_create_of(*group, chosen);

    auto [ls, ls_options] = declare<LsOptions>(*group, "ls", "List snapshots, newest first", chosen, list);
    ls.add_option("vdisk", ls_options.vdisk, "Only those of this vdisk")->type_name("VDISK")->check(check_not_empty);
    add_list_options(ls, ls_options.list, "Ids only");
    ls.footer("Example: coppice snapshot ls debian");

    auto [one, one_options] = declare<ShowOptions>(*group, "show", "Show all about one", chosen, show);
    take_reference(one, one_options.reference);
    add_list_options(one, one_options.list, nullptr);
    one.footer("Example: coppice snapshot show web-1");

    auto [rm, rm_options] = declare<RmOptions>(*group, "rm", "Remove snapshots", chosen, remove);
    rm.add_option("snapshots", rm_options.references, "Which: ids or their beginnings, tags")
        ->type_name("REF")
        ->required()
        ->check(check_not_empty);
    rm.add_flag("--cascade", rm_options.cascade, "With all that stand on them");
    take_format(rm, rm_options.format);
    rm.footer("Example: coppice snapshot rm 3fa2b1 --cascade");

    auto [sealing, seal_options] =
        declare<SealOptions>(*group, "seal", "Sign a snapshot and put it into the store now", chosen, seal);
    add_work_options(take_reference(sealing, seal_options.reference), seal_options.work, "No progress");
    sealing.add_flag("--accept", seal_options.accept,
                     "Also what a power cut may have left incomplete: keep it as it is");
    sealing.footer("Example: coppice snapshot seal web-1");

    auto [saying, message_options] = declare<MessageOptions>(
        *group, "message", "Change the message of a snapshot that is not sealed", chosen, set_message);
    take_reference(saying, message_options.reference)
        .add_option("text", message_options.text, "The new message")
        ->type_name("TEXT")
        ->required();
    saying.footer("Example: coppice snapshot message web-1 \"before the upgrade to 1.27\"");
    group->footer("Example: coppice snapshot rm $(coppice snapshot ls -q old)");
}

} // namespace coppice::cli
