#pragma once

#include "connection.h"

namespace coppice::store {

inline constexpr std::int64_t kApplicationId = 0x43505053; // "CPPS"
inline constexpr std::int64_t kSchemaVersion = 4;

/// Makes the tables in an empty database, or takes an older one to this version, each step in a transaction of its own.
/// Errors: Unsupported (a newer version), Corrupt (not a store's database)
Result<> migrate(Connection& connection);

} // namespace coppice::store
