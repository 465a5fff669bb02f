#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "daemon_link.h"
#include "declare.h"
#include "history_reader.h"
#include "listing.h"
#include "names.h"
#include "work.h"

#include <cstdio>
#include <set>

namespace coppice::cli {

namespace {

struct Options {
    std::string reference, format = "text";
    bool deep = false, quiet = false;
};

/// Nothing is below one of these that is not below another: what has no children.
Result<std::vector<std::string>> tips(const api::Client& client)
{
    const auto snapshots = TRY(read_snapshots(TRY(ask_for_text(client, "/v1/snapshots"))));
    std::set<std::string_view> parents;
    for (const LoggedSnapshot& snapshot : snapshots)
        parents.insert(snapshot.parent);
    std::vector<std::string> found;
    for (const LoggedSnapshot& snapshot : snapshots)
        if (!parents.contains(snapshot.id)) found.push_back('@' + snapshot.id);
    return found;
}

Result<std::string> sentence_of(const std::string& reference, const nlohmann::json& result)
{
    const JsonNode node{result};
    const auto snapshots = TRY(TRY(node.get("snapshots")).unsigned_integer());
    const auto chunks = TRY(TRY(node.get("chunks")).unsigned_integer());
    const auto bytes = TRY(TRY(node.get("bytes")).unsigned_integer());
    const auto signer = TRY(node.text_or("signer", ""));
    return cat(printable(reference), ": good: ", snapshots, " snapshots, ", chunks, " chunks, ", format_bytes(bytes),
               signer.empty() ? "" : ", signed by ", printable(signer));
}

Result<nlohmann::json> verify_one(const api::Client& client, const std::string& reference, const Options& options)
{
    auto result = TRY(carry_out(client, snapshot_target(reference) + "/verify", nlohmann::json{{"deep", options.deep}},
                                {.quiet = options.quiet}));
    if (options.format == "text" && !options.quiet) std::puts(TRY(sentence_of(reference, *result)).c_str());
    return *std::move(result);
}

/// Goes on after a bad one: each is named, and the first is the error at the end.
Result<int> verify(const Options& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    const auto references = options.reference.empty() ? TRY(tips(client)) : std::vector{options.reference};
    nlohmann::json results = nlohmann::json::array();
    std::optional<Error> first;
    for (const std::string& reference : references) {
        auto result = with_context(verify_one(client, reference, options), cat("verify ", reference));
        if (result)
            results.push_back({{"snapshot", reference}, {"result", *std::move(result)}});
        else if (!first)
            first = std::move(result).error();
        else
            std::fprintf(stderr, "coppice: %s\n", result.error().line().c_str());
    }
    if (options.format == "json") print_json(results);
    if (first) return fail(*std::move(first));
    return 0;
}

} // namespace

void add_verify(CLI::App& app, Command& chosen)
{
    auto [command, options] = declare<Options>(
        app, "verify", "Check snapshots against their signatures, down to their roots", chosen, verify);
    command.add_option("snapshot", options.reference, "Which (default: all)")->type_name("REF")->check(check_not_empty);
    command.add_flag("--deep", options.deep, "Read every byte of them");
    command.add_flag("-q,--quiet", options.quiet, "Say nothing where all is good");
    take_word(command.add_option("--format", options.format, "Form of the result (default: text)"), "text|json");
    command.footer("Example: coppice verify --deep debian:3");
}

} // namespace coppice::cli
