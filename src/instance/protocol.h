#pragma once

#include "coppice/base/result.h"
#include "coppice/instance/config.h"
#include "coppice/os/fd.h"

#include <optional>
#include <string>
#include <string_view>

namespace coppice::instance {

/// Descriptor on which a supervisor finds the socket to whoever started it.
inline constexpr int kSupervisorSocket = 3;

/// What starter and supervisor say to each other, one message each. The end of the connection is a message too: the
/// other one has died, and the one that is left cleans up.
enum class Say : char {
    Launch = 'l',  ///< to the supervisor: text is a Launch
    Started = 's', ///< from it: the program runs; with a terminal, its descriptor
    Failed = 'e',  ///< from it: text is an error
    Ended = 'x',   ///< from it: text is the exit status and what there is to tell about it
    Signal = 'k',  ///< to it: text is a signal's number for the instance
    Detach = 'd',  ///< to it: the starter goes and the instance stays
};

struct Launch {
    std::string store_root;
    bool detached = false;
    InstanceConfig config;
};
std::string to_text(const Launch& launch);
Result<Launch> parse_launch(std::string_view text);

struct Ended {
    int status = 0;
    std::string note; ///< for the user, for example that the memory limit was hit; may be empty
};
std::string to_text(const Ended& ended);
Result<Ended> parse_ended(std::string_view text);

Result<> say(const os::Fd& socket, Say word, std::string_view text = {}, int fd = -1);

struct Heard {
    Say word;
    std::string text;
    os::Fd fd;
};
/// Next message; empty when the other one has gone. Blocks.
Result<std::optional<Heard>> hear(const os::Fd& socket);

} // namespace coppice::instance
