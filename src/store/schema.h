#pragma once

#include "connection.h"

namespace coppice::store {

inline constexpr std::int64_t kApplicationId = 0x43505053; // "CPPS"
inline constexpr std::int64_t kSchemaVersion = 5;

/// The depth of every snapshot that comes from a root, by its id: a part of a migration, and what mends wrong ones.
#define COPPICE_SNAPSHOT_DEPTHS                                                                     \
    "WITH RECURSIVE line(id, depth) AS (SELECT id, 1 FROM snapshot WHERE parent IS NULL UNION ALL " \
    "SELECT child.id, line.depth + 1 FROM snapshot child JOIN line ON child.parent = line.id) "     \
    "SELECT id, depth FROM line"

/// Makes the tables in an empty database, or takes an older one to this version, each step in a transaction of its own.
/// Errors: Unsupported (a newer version), Corrupt (not a store's database)
Result<> migrate(Connection& connection);

} // namespace coppice::store
