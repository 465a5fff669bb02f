#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// Environments as lists of NAME=value, the form in which execve(2) takes them.
namespace coppice {

/// Adds NAME=value; a variable of the same name goes. (libc finds the first of two, so a second one would be useless.)
void set_variable(std::vector<std::string>& environment, const std::string& entry);

/// The value of `name`, borrowed from `environment`.
std::optional<std::string_view> find_variable(const std::vector<std::string>& environment, std::string_view name);

} // namespace coppice
