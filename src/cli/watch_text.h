#pragma once

#include "coppice/instance/process_list.h"
#include "coppice/instance/usage.h"
#include "table.h"

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

/// What `coppice stats` and `coppice top` print. Pure.
namespace coppice::cli {

struct Sample {
    std::string name;
    instance::Usage usage;
    std::optional<double> cpu_percent;
};

/// In tables and CSV "-" is what the host does not count, in JSON null. Tables are for people, CSV has exact numbers.
std::string samples_text(const std::vector<Sample>& samples, Table::Form form);
nlohmann::json samples_json(const std::vector<Sample>& samples);

/// Names and arguments come from the instance: no control character of them is printed.
std::string processes_text(const std::vector<instance::ProcessInfo>& processes, Table::Form form);

} // namespace coppice::cli
