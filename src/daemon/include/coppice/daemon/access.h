#pragma once

#include "coppice/base/result.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <sys/types.h>

namespace coppice::daemon {

/// Who asks: what the kernel said when the local socket was connected.
struct Identity {
    uid_t uid = 0;
    pid_t pid = 0;
    [[nodiscard]] std::string text() const; ///< "uid 1000 (process 4711)"
};

enum class Verb : std::uint8_t { Read, Change, Administer };

/// The one place that decides who may do what. Today: root and the daemon's own user may do everything, all others
/// nothing; roles and ownership per object come here.
/// @param object path of the resource, such as /v1/vdisks/debian
/// Errors: Denied, with a hint
Result<> authorize(const Identity& identity, Verb verb, std::string_view object);

} // namespace coppice::daemon
