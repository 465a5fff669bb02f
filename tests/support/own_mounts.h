#pragma once

#include <string>

namespace coppice::test {

/// Gives this program a mount namespace of its own when it runs as root. Called once, by main.
void take_own_mounts();
/// Why there is none; empty when there is.
const std::string& own_mounts_problem();

} // namespace coppice::test
