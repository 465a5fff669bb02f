#pragma once

#include <string>

namespace coppice::runtime {

/// What this runtime can do, as the JSON document of the runtime specification's features.md, 1.2. Made from the tables
/// that configurations are judged by. @param version of this program
std::string features_json(const std::string& version);

/// A config.json to start from: what `runc spec` writes, in meaning. @param rootless for an ordinary user
std::string example_config(bool rootless);

/// Version of the libseccomp that is linked in: "2.5.4".
std::string libseccomp_version();

/// The newest runtime specification that is followed.
inline constexpr const char* kSpecVersion = "1.2.1";

} // namespace coppice::runtime
