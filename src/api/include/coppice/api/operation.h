#pragma once

#include "coppice/base/result.h"

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

/// Long-running work behind the API.
namespace coppice::api {

enum class OperationState : std::uint8_t {
    Pending, ///< waits for its turn
    Running,
    Succeeded,   ///< has a result
    Failed,      ///< has an error
    Cancelled,   ///< somebody asked for it, and it stopped before it was done
    Interrupted, ///< the daemon ended before it was done; what that means for the subject, the kind says
};
std::string_view word_of(OperationState state);
/// Errors: Invalid
Result<OperationState> parse_state(std::string_view word);
constexpr bool is_over(OperationState state) { return state > OperationState::Running; }

/// How far it is. All of it is for people; nothing may depend on it.
struct Progress {
    std::uint64_t done = 0;
    std::uint64_t total = 0; ///< 0 when not known
    std::string unit;        ///< of the two: "bytes" is shown as MiB and so on, others as they are ("files")
    std::string stage;       ///< "reading tar", or empty
    bool operator==(const Progress&) const = default;
};

struct Operation {
    std::string id;
    std::string kind;    ///< "vdisk.import"
    std::string subject; ///< what it is about: the path of its resource, such as /v1/vdisks/debian; may be empty
    OperationState state = OperationState::Pending;
    std::uint64_t version = 0; ///< grows with every change
    Progress progress;
    std::string created, started, ended; ///< RFC 3339, UTC; empty when that has not happened
    nlohmann::json result;               ///< null but for Succeeded
    std::optional<Error> error;          ///< of all that is over but Succeeded
};

nlohmann::json to_json(const Operation& operation);
/// Without the result, which may be long: for lists and events.
nlohmann::json summary_json(const Operation& operation);
/// Errors: Invalid, naming the member
Result<Operation> parse_operation(const nlohmann::json& document);

} // namespace coppice::api
