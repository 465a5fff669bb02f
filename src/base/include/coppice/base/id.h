#pragma once

#include "coppice/base/result.h"

#include <string>
#include <string_view>

namespace coppice {

/// Longest name of a container or an instance, in bytes. It becomes a directory and a cgroup name.
inline constexpr std::size_t kNameMaxBytes = 128;

/// Checks a container id or instance name: 1 to kNameMaxBytes of [A-Za-z0-9_+-.], beginning with a letter, a digit or
/// an underscore. That refuses "", ".", "..", anything with a slash, and anything that looks like an option.
/// Errors: Invalid, naming the rule. Source: runc's id rule, narrowed at the first character.
Result<> check_name(std::string_view name);

/// `digits` lower-case hexadecimal digits from the kernel's random source.
std::string random_hex(std::size_t digits);

} // namespace coppice
