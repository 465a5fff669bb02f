#include "coppice/daemon/operation_log.h"

#include "coppice/base/text.h"
#include "coppice/base/time.h"

#include <algorithm>

namespace coppice::daemon {

namespace {

void interrupt(api::Operation& operation)
{
    if (api::is_over(operation.state)) return;
    operation.state = api::OperationState::Interrupted;
    operation.ended = to_rfc3339(now());
    ++operation.version;
    operation.error =
        Error{ErrorKind::Unavailable, "coppiced ended before the operation was done"}.hint("start it again");
}

} // namespace

Result<std::unique_ptr<JournalOperationLog>> JournalOperationLog::open(const std::string& path)
{
    auto opened = TRY(Journal::open(path));
    std::vector<api::Operation> operations;
    for (const auto& record : opened.records) {
        auto operation = TRY_DOING(path, api::parse_operation(record));
        const auto known = std::find_if(operations.begin(), operations.end(),
                                        [&](const api::Operation& other) { return other.id == operation.id; });
        if (known == operations.end())
            operations.push_back(std::move(operation));
        else
            *known = std::move(operation);
    }
    std::for_each(operations.begin(), operations.end(), interrupt);
    return std::unique_ptr<JournalOperationLog>{
        new JournalOperationLog{std::move(opened.journal), std::move(operations)}};
}

Result<std::vector<api::Operation>> JournalOperationLog::load()
{
    TRY(keep_only(loaded_)); // what was interrupted stays so
    return std::exchange(loaded_, {});
}

Result<> JournalOperationLog::record(const api::Operation& operation)
{
    const bool durable = operation.state == api::OperationState::Pending || api::is_over(operation.state);
    return journal_.append(api::to_json(operation), durable);
}

Result<> JournalOperationLog::keep_only(const std::vector<api::Operation>& operations)
{
    std::vector<nlohmann::json> records;
    records.reserve(operations.size());
    for (const auto& operation : operations)
        records.push_back(api::to_json(operation));
    return journal_.replace(records);
}

} // namespace coppice::daemon
