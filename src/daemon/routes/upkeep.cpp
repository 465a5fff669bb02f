#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "coppice/os/disk.h"
#include "coppice/os/file.h"
#include "coppice/store/collect.h"
#include "coppice/store/fsck.h"
#include "storage.h"
#include "storage_json.h"

#include <algorithm>
#include <array>
#include <sys/statvfs.h>

namespace coppice::daemon {

namespace {

using nlohmann::json;

Result<std::uint64_t> blob_bytes(const store::Store& store)
{
    std::uint64_t bytes = 0;
    for (const std::string& name : TRY(os::list_directory(store.directory(), "cache")))
        if (const auto status = TRY(os::find_status(store.directory(), cat("cache/", name), false)))
            bytes += static_cast<std::uint64_t>(status->st_blocks) * 512; // of stat(2), whatever the file system's
    return bytes;
}

Result<Reply> disk_usage(const StorageApiPtr& api, const Request&)
{
    const auto usage = TRY(api->store().read([](const store::View& view) { return store::usage(view); }));
    struct statvfs disk{};
    if (::fstatvfs(api->store().directory(), &disk) < 0) return fail_os(errno, "statvfs of the store");
    auto body = usage_json(usage);
    body["blob_bytes"] = TRY(blob_bytes(api->store()));
    body["free_bytes"] = std::uint64_t{disk.f_bavail} * disk.f_frsize;
    return Reply::json(std::move(body));
}

Result<Reply> collect(const StorageApiPtr& api, const Request& request)
{
    TRY(check_members(request.body, {"grace_seconds"}));
    store::CollectOptions options;
    if (const auto seconds = TRY(JsonNode{request.body}.find_integer("grace_seconds", 0, INT32_MAX)))
        options.grace_seconds = *seconds;
    return begin(api, "system.gc", "/v1/system", [api, options](OperationContext& operation) -> Result<json> {
        operation.show({.done = 0, .total = 0, .unit = "", .stage = "collecting"});
        const auto done = TRY(store::collect(api->store(), options));
        return json{{"trashed_layers", done.trashed_layers},
                    {"trashed_chunks", done.trashed_chunks},
                    {"removed_layers", done.removed_layers},
                    {"removed_chunks", done.removed_chunks},
                    {"freed_bytes", done.freed_bytes},
                    {"removed_packs", done.removed_packs},
                    {"punched", done.punched},
                    {"given_up_sessions", done.given_up_sessions},
                    {"ended_leases", done.ended_leases}};
    });
}

Result<store::FsckLevel> parse_level(const std::string& word)
{
    constexpr std::array<std::pair<std::string_view, store::FsckLevel>, 4> kLevels{
        {{"quick", store::FsckLevel::Quick},
         {"full", store::FsckLevel::Full},
         {"crypto", store::FsckLevel::Crypto},
         {"repair", store::FsckLevel::Repair}}};
    for (const auto& [name, level] : kLevels)
        if (name == word) return level;
    return fail(ErrorKind::Invalid, cat("'", printable(word), "' is no level: quick, full, crypto or repair is one"));
}

/// A result is kept with its operation: of a store that is lost as a whole, only the first findings are told.
json report_json(const store::FsckReport& report)
{
    constexpr std::size_t kMostFindings = 1000, kMostText = 500;
    json findings = json::array();
    for (const store::Finding& finding : report.findings) {
        if (findings.size() == kMostFindings) break;
        findings.push_back({{"what", finding.what.substr(0, kMostText)},
                            {"lost_for", finding.lost_for.substr(0, kMostText)},
                            {"repaired", finding.repaired}});
    }
    const auto repaired = std::count_if(report.findings.begin(), report.findings.end(),
                                        [](const store::Finding& finding) { return finding.repaired; });
    return {{"findings", std::move(findings)}, {"findings_total", report.findings.size()},
            {"repaired_total", repaired},      {"chunks", report.chunks},
            {"layers", report.layers},         {"snapshots", report.snapshots},
            {"read_bytes", report.read_bytes}, {"exit_status", report.exit_status()}};
}

Result<Reply> check(const StorageApiPtr& api, const Request& request)
{
    TRY(check_members(request.body, {"level"}));
    const auto word = TRY(JsonNode{request.body}.text_or("level", "quick"));
    const auto level = TRY(parse_level(word));
    return begin(api, "system.fsck", "/v1/system", [api, level, word](OperationContext& operation) -> Result<json> {
        const auto report = TRY(store::fsck(api->store(), level, watch_of(operation, cat("checking, ", word))));
        return report_json(report);
    });
}

} // namespace

std::vector<StorageRow> upkeep_rows()
{
    using enum Method;
    return {{Get, "/v1/system/df", "diskUsage", "", disk_usage},
            {Post, "/v1/system/gc", "collectGarbage", "CollectRequest", collect, true},
            {Post, "/v1/system/fsck", "checkStore", "FsckRequest", check, true}};
}

} // namespace coppice::daemon
