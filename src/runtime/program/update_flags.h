#pragma once

#include "coppice/base/result.h"

#include <array>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace coppice::runtime_program {

/// One limit as an option of `update`.
struct UpdateFlag {
    enum class Kind : unsigned char { Number, Bytes, List, Ignored };
    const char* name;
    const char* part;   ///< object of `linux.resources` that it belongs to
    const char* member; ///< in that object
    Kind kind;
};

inline constexpr std::array<UpdateFlag, 16> kUpdateFlags{{
    {"blkio-weight", "blockIO", "weight", UpdateFlag::Kind::Number},
    {"cpu-period", "cpu", "period", UpdateFlag::Kind::Number},
    {"cpu-quota", "cpu", "quota", UpdateFlag::Kind::Number},
    {"cpu-burst", "cpu", "burst", UpdateFlag::Kind::Number},
    {"cpu-share", "cpu", "shares", UpdateFlag::Kind::Number},
    {"cpu-rt-period", "cpu", "realtimePeriod", UpdateFlag::Kind::Number},
    {"cpu-rt-runtime", "cpu", "realtimeRuntime", UpdateFlag::Kind::Number},
    {"cpu-idle", "cpu", "idle", UpdateFlag::Kind::Number},
    {"cpuset-cpus", "cpu", "cpus", UpdateFlag::Kind::List},
    {"cpuset-mems", "cpu", "mems", UpdateFlag::Kind::List},
    {"memory", "memory", "limit", UpdateFlag::Kind::Bytes},
    {"memory-reservation", "memory", "reservation", UpdateFlag::Kind::Bytes},
    {"memory-swap", "memory", "swap", UpdateFlag::Kind::Bytes},
    {"pids-limit", "pids", "limit", UpdateFlag::Kind::Number},
    {"kernel-memory", "memory", "kernel", UpdateFlag::Kind::Ignored},
    {"kernel-memory-tcp", "memory", "kernelTCP", UpdateFlag::Kind::Ignored},
}};

/// Index in kUpdateFlags and value.
using UpdateValues = std::vector<std::pair<std::size_t, std::string>>;

/// The options as an OCI `resources` object. Errors: Invalid, naming the option
Result<std::string> to_resources(const UpdateValues& values);

} // namespace coppice::runtime_program
