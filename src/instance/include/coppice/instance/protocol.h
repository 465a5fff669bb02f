#pragma once

#include "coppice/base/result.h"
#include "coppice/instance/config.h"
#include "coppice/os/fd.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace coppice::instance {

/// Descriptor on which a supervisor finds the socket to whoever started it.
inline constexpr int kSupervisorSocket = 3;

/// Where an instance's supervisor is found: in the instance's directory. Who connects says first what it is, `Daemon`
/// or `Attach`.
inline constexpr const char* kControlSocket = "control";

/// What starter, daemon and supervisor say to each other, one message each. The end of a connection is a message too.
///
/// The starter is the `coppice run` that waits for the instance. Either it has made the supervisor itself, or
/// the daemon has, which hands the starter's socket over with the launch. A starter that has died takes its instance
/// with it; a daemon does not.
enum class Say : char {
    Launch = 'l',  ///< to the supervisor: text is a Launch; from the daemon, with the starter's socket if there is one
    Streams = 'i', ///< from a starter that came by the daemon: standard input, output and error; none with a terminal
    Started = 's', ///< to starter and daemon: the program runs; to the starter with its terminal
    Failed = 'e',  ///< to both: text is an error
    Ended = 'x',   ///< to both: text is the exit status and what there is to tell about it
    Signal = 'k',  ///< from both: text is a signal's number for the instance
    Detach = 'd',  ///< from the starter: it goes and the instance stays
    Mount =
        'm', ///< to the daemon: the root, please; text is the first id of the instance's range, with its user namespace
    Mounted = 'r',  ///< from the daemon: the root's detached mount
    Settled = 'g',  ///< from the daemon, after Ended or Failed: the instance's layer is what its mode demands
    Health = 'h',   ///< to the daemon: text is a HealthStatus
    Daemon = 'D',   ///< to the supervisor: from now on I am your daemon
    Attach = 'a',   ///< to the supervisor: text is kAttachStreams, or empty for who wants to hear of the end only
    Attached = 'A', ///< answer, then Ended at the end: text is kAttachTerminal or empty; with streams come output and,
                    ///< without a terminal, errors; then what input is written to, if the instance takes any
};
inline constexpr std::string_view kAttachStreams = "streams", kAttachTerminal = "terminal";

struct Launch {
    std::string store_root;
    bool detached = false;    ///< nobody waits for its output: it goes to the log
    bool by_daemon = false;   ///< the socket that it comes by is the daemon's
    bool by_policy = false;   ///< its restart policy starts it: not if somebody has stopped it meanwhile
    std::string init_program; ///< for `config.init`, see boot.h: the supervisor no longer knows where it lies itself
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

Result<> say(const os::Fd& socket, Say word, std::string_view text = {}, const std::vector<int>& fds = {});

struct Heard {
    Say word;
    std::string text;
    std::vector<os::Fd> fds;
    [[nodiscard]] os::Fd take_fd() { return fds.empty() ? os::Fd{} : std::move(fds.front()); }
};
/// Next message; empty when the other one has gone. Blocks.
Result<std::optional<Heard>> hear(const os::Fd& socket);

} // namespace coppice::instance
