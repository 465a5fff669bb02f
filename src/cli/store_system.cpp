#include "store_system.h"

#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "daemon_link.h"
#include "declare.h"
#include "listing.h"
#include "names.h"
#include "table.h"
#include "work.h"

#include <cstdio>

namespace coppice::cli {

namespace {

using Kind = Column::Kind;

struct DfOptions {
    ListOptions list;
};

/// "debian 1.2 GiB, web 30 MiB": with whom a vdisk shares, in place of the object.
Result<nlohmann::json> spelled_out(const nlohmann::json& vdisks, bool for_people)
{
    nlohmann::json spelled = nlohmann::json::array();
    for (const auto& vdisk : vdisks) {
        nlohmann::json row = vdisk;
        std::string with;
        TRY(JsonNode{vdisk}.each_member("shared_with", [&](const std::string& name, const JsonNode& bytes) -> Result<> {
            const auto amount = TRY(bytes.unsigned_integer());
            with += cat(with.empty() ? "" : ", ", name, ' ', for_people ? format_bytes(amount) : cat(amount));
            return {};
        }));
        row["shared_with"] = with;
        spelled.push_back(std::move(row));
    }
    return spelled;
}

Result<int> df(const DfOptions& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    const auto usage = TRY(ask(client, "/v1/system/df"));
    if (options.list.format == "json") {
        print_json(usage);
        return 0;
    }
    const bool for_people = options.list.format == "table";
    const auto vdisks = TRY(JsonNode{usage}.get("vdisks"));
    TRY(print_list(TRY(spelled_out(vdisks.value(), for_people)), options.list, "name",
                   {{"vdisk", Kind::Text, "name"},
                    {"snapshots"},
                    {for_people ? "own" : "own_bytes", Kind::Bytes, "own_bytes"},
                    {for_people ? "shared" : "shared_bytes", Kind::Bytes, "shared_bytes"},
                    {for_people ? "shared with" : "shared_with", Kind::Text, "shared_with"}}));
    if (!for_people || options.list.quiet) return 0;
    std::fputs(cat('\n', TRY(object_text(usage, "table",
                                         {{"stored", Kind::Bytes, "stored_bytes"},
                                          {"unpacked", Kind::Bytes, "plain_bytes"},
                                          {"chunks"},
                                          {"packs", Kind::Bytes, "pack_bytes"},
                                          {"blobs", Kind::Bytes, "blob_bytes"},
                                          {"metadata", Kind::Bytes, "metadata_bytes"},
                                          {"unused", Kind::Bytes, "unused_bytes"},
                                          {"in the trash", Kind::Bytes, "trash_bytes"},
                                          {"free on the disk", Kind::Bytes, "free_bytes"}})))
                   .c_str(),
               stdout);
    return 0;
}

struct GcOptions {
    WorkOptions work;
    std::string grace;
};

Result<int> collect(const GcOptions& options, const GlobalOptions& global)
{
    nlohmann::json body = nlohmann::json::object();
    if (!options.grace.empty()) body["grace_seconds"] = TRY(parse_duration_ms(options.grace)) / 1000;
    const auto client = TRY(reach_daemon(global));
    const auto counters = TRY(carry_out(client, "/v1/system/gc", std::move(body), options.work));
    if (!counters) return 0;
    if (options.work.format == "json") {
        print_json(*counters);
    } else if (!options.work.quiet) {
        const auto count = [&](const char* key) -> Result<std::uint64_t> {
            return TRY(JsonNode{*counters}.get(key)).unsigned_integer();
        };
        std::puts(cat("freed ", format_bytes(TRY(count("freed_bytes"))), ": ", TRY(count("removed_layers")),
                      " layers, ", TRY(count("removed_chunks")), " chunks; found ", TRY(count("trashed_layers")),
                      " layers and ", TRY(count("trashed_chunks")), " chunks that nothing needs any more")
                      .c_str());
    }
    return 0;
}

struct FsckOptions {
    WorkOptions work;
    bool quick = false, full = false, crypto = false, repair = false;
};

std::string level_of(const FsckOptions& options)
{
    return options.repair ? "repair" : options.crypto ? "crypto" : options.full ? "full" : "quick";
}

Result<> print_report(const nlohmann::json& report)
{
    const JsonNode node{report};
    TRY(node.each("findings", [](const JsonNode& finding) -> Result<> {
        const auto what = TRY(TRY(finding.get("what")).text());
        const auto lost_for = TRY(finding.text_or("lost_for", ""));
        const bool repaired = TRY(finding.boolean_or("repaired", false));
        std::puts(cat(printable(what), lost_for.empty() ? "" : "; cannot be read for it: ", printable(lost_for),
                      repaired ? "; repaired" : "")
                      .c_str());
        return {};
    }));
    const auto count = [&node](const char* key) -> Result<std::uint64_t> {
        return TRY(node.get(key)).unsigned_integer();
    };
    const auto told = TRY(node.get("findings")).value().size();
    const auto all = TRY(count("findings_total"));
    if (all > told) std::puts(cat("and ", all - told, " more").c_str());
    std::puts(cat(TRY(count("snapshots")), " snapshots, ", TRY(count("layers")), " layers, ", TRY(count("chunks")),
                  " chunks looked at, ", format_bytes(TRY(count("read_bytes"))), " read")
                  .c_str());
    return {};
}

Result<int> check(const FsckOptions& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    const auto report =
        TRY(carry_out(client, "/v1/system/fsck", nlohmann::json{{"level", level_of(options)}}, options.work));
    if (!report) return 0;
    if (options.work.format == "json")
        print_json(*report);
    else if (!options.work.quiet)
        TRY(print_report(*report));
    constexpr std::int64_t kMost = 255;
    return static_cast<int>(TRY(TRY(JsonNode{*report}.get("exit_status")).integer(0, kMost)));
}

/// As fsck(8): what keeps it from looking is status 8, not the 1 of other commands, which says "repaired".
Result<int> check_as_fsck(const FsckOptions& options, const GlobalOptions& global)
{
    const auto status = check(options, global);
    if (status) return *status;
    std::fprintf(stderr, "coppice: %s\n", status.error().line().c_str());
    constexpr int kOperational = 8;
    return kOperational;
}

std::string check_complaint(const FsckOptions& options)
{
    const int levels = int{options.quick} + int{options.full} + int{options.crypto} + int{options.repair};
    return levels > 1 ? "--quick, --full, --crypto and --repair exclude each other" : "";
}

} // namespace

void add_store_system(CLI::App& group, Command& chosen)
{
    auto [usage, df_options] =
        declare<DfOptions>(group, "df", "Show what vdisks take on the disk, and what they share", chosen, df);
    add_list_options(usage, df_options.list, "Names only");
    usage.footer("Example: coppice system df");

    auto [gc, gc_options] =
        declare<GcOptions>(group, "gc", "Remove from the store what nothing needs any more", chosen, collect);
    gc.add_option("--grace", gc_options.grace, "Keep what became unused within this time, for example 30m or 0s")
        ->type_name("TIME")
        ->check(check_duration);
    add_work_options(gc, gc_options.work, "Show neither progress nor result");
    gc.footer("Example: coppice system gc --grace 0s");

    auto [fsck, fsck_options] = declare<FsckOptions>(group, "fsck", "Look for damage in the store, and repair it",
                                                     chosen, check_as_fsck, check_complaint);
    fsck.add_flag("--quick", fsck_options.quick, "Database, references and sizes of files (the default)");
    fsck.add_flag("--full", fsck_options.full, "And every byte");
    fsck.add_flag("--crypto", fsck_options.crypto, "As --quick, and every signature");
    fsck.add_flag("--repair", fsck_options.repair, "As --full and --crypto, and make again what can be");
    add_work_options(fsck, fsck_options.work, "Show neither progress nor findings");
    fsck.footer("Example: coppice system fsck --full\n"
                "Exit status as of fsck(8): 0 clean, 1 repaired, 4 damage left, 8 could not look.");
}

} // namespace coppice::cli
