#pragma once

#include "coppice/base/json.h"
#include "coppice/runtime/spec.h"

namespace coppice::runtime {

/// The `linux` object; the rest of the document is in spec.cpp.
Result<LinuxSpec> parse_linux(const JsonNode& node);

/// The limits of the `resources` object. Zero where Docker means "unset" is unset. (spec_resources.cpp)
Result<os::CgroupLimits> parse_limits(const JsonNode& node);
Result<os::DeviceRule> parse_device_rule(const JsonNode& node);
/// `scheduler`, `ioPriority` and `execCPUAffinity` of a `process` object.
Result<> parse_scheduling(const JsonNode& process, ProcessSpec& spec);

/// `name` -> text for every member of an object of strings.
Result<std::map<std::string, std::string>> parse_text_map(const JsonNode& node, std::string_view key);
Result<os::UserMapping> parse_mapping(const JsonNode& node);

} // namespace coppice::runtime
