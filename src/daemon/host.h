#pragma once

#include "coppice/instance/doctor.h"

#include <nlohmann/json.hpp>
#include <string>

/// What the daemon says about its host, as docs/reference/openapi.json has it.
namespace coppice::daemon {

/// Names of features with whether they are there.
nlohmann::json feature_switches(const instance::HostReport& host);

/// The report of `coppice doctor`: DoctorReport. Blocks for half a second and more. Any thread.
Result<nlohmann::json> doctor_report(const instance::HostReport& host, const std::string& root);

} // namespace coppice::daemon
