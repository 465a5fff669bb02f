#include "commands.h"
#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/runtime/state.h"

#include <algorithm>
#include <array>
#include <cstdio>

namespace coppice::runtime_program {

namespace {

using Row = std::array<std::string, 6>;

/// Columns as wide as their widest entry, at least 12 with three blanks behind it, as runc's callers have always seen.
std::string table_of(const std::vector<Row>& rows)
{
    Row::size_type constexpr kColumns = std::tuple_size_v<Row>;
    std::array<std::size_t, kColumns> widths{};
    for (const Row& row : rows)
        for (std::size_t i = 0; i < kColumns; ++i)
            widths[i] = std::max({widths[i], row[i].size() + 3, std::size_t{12}});
    std::string text;
    for (const Row& row : rows) {
        for (std::size_t i = 0; i + 1 < kColumns; ++i)
            text += row[i] + std::string(widths[i] - row[i].size(), ' ');
        text += row.back() + '\n';
    }
    return text;
}

} // namespace

Result<int> list_containers(const Options& options, const runtime::StateRoot& root)
{
    std::string json;
    std::vector<Row> rows{{"ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"}};
    for (const std::string& id : TRY(root.list())) {
        if (options.command.quiet) {
            std::puts(id.c_str());
            continue;
        }
        const auto directory = root.find(id);
        const auto record =
            directory ? directory->read_state() : Result<runtime::StateRecord>{std::unexpect, directory.error()};
        if (!record) {
            if (record.error().kind() != ErrorKind::NotFound) // else it was deleted while we looked
                log::warn("list", record.error().line());
            continue;
        }
        const auto found = runtime::status_of(*directory, *record);
        if (!found) log::warn("list", cat("container ", id, ": ", found.error().line()));
        const auto status = found ? *found : runtime::Status::Unknown;
        const std::string owner = runtime::owner_name(record->owner);
        json += cat(json.empty() ? "" : ",", runtime::to_state_json(*record, status, false, owner));
        rows.push_back({id, cat(status == runtime::Status::Stopped ? 0 : record->pid),
                        std::string{runtime::to_word(status)}, record->bundle, record->created, owner});
    }
    if (!options.command.quiet)
        std::fputs((options.command.json ? cat('[', json, "]\n") : table_of(rows)).c_str(), stdout);
    return 0;
}

} // namespace coppice::runtime_program
