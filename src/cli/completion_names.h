#pragma once

#include "command.h"

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

/// Names that the shell completes; from the daemon only when it runs already.
namespace coppice::cli {

/// By the type name of an operand or an option's value: NAME (instances), OPERATION, VDISK, VDISK:NUMBER,
/// VDISK[:NUMBER], BRANCH, TAG, MOUNT, REF, REF:/PATH. None where they cannot be had within a second: a shell that
/// completes shows no errors.
std::vector<std::string> known_names(std::string_view type, std::string_view command, const GlobalOptions& global);

/// What vdisks (as /v1/vdisks tells them) offer for a type: their names, debian:3, debian@tag, tag. Pure.
std::vector<std::string> vdisk_words(std::string_view type, const nlohmann::json& vdisks);

} // namespace coppice::cli
