#pragma once

#include "coppice/base/result.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace coppice {

/// Parses an amount of bytes as docker's flags take it: a number, optionally with a fraction, and one of b k m g t
/// (powers of 1024, either case, an optional `b` or `ib` behind it): `64m`, `1.5g`, `1048576`, `10MiB`.
/// Errors: Invalid (empty, negative, unknown unit, beyond 2^63 - 1)
Result<std::uint64_t> parse_bytes(std::string_view text);

/// Shortest exact or one-decimal form with a binary unit: 512 B, 64 MiB, 1.5 GiB.
std::string format_bytes(std::uint64_t bytes);

/// Parses a CPU count as docker's --cpus: 0.5, 2, 1.25. Result in thousandths of a CPU.
/// Errors: Invalid (not a number, not above 0, beyond 1,000,000 CPUs)
Result<std::uint64_t> parse_millicpus(std::string_view text);

/// Parses a time as Go's flags take it: numbers, optionally with a fraction, each with one of ns us ms s m h, for
/// example `5s`, `1.5h`, `1m30s`. Result in milliseconds. Errors: Invalid (empty, no unit, negative, beyond 292 years)
Result<std::int64_t> parse_duration_ms(std::string_view text);

/// Parses a whole decimal number within [least, most]. Errors: Invalid.
Result<std::int64_t> parse_integer(std::string_view text, std::int64_t least, std::int64_t most);

} // namespace coppice
