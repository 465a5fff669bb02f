#pragma once

#include "coppice/base/result.h"

#include <functional>
#include <string>
#include <string_view>
#include <vector>

/// What the commands about instances share.
namespace coppice::cli {

/// Does `act` for every name, going on after a failure, and prints the names of those that it was done for; the first
/// error is returned at the end, others are printed.
Result<int> for_each(const std::vector<std::string>& names, const std::function<Result<>(const std::string&)>& act);

/// Path of the resource, or of one below it. @param part "/stop"; may be empty
std::string instance_target(std::string_view name, std::string_view part = {});

/// As with docker: without -i an instance reads nothing.
Result<> close_input();

} // namespace coppice::cli
