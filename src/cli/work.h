#pragma once

#include "coppice/api/client.h"

#include <optional>
#include <string>

namespace CLI { // NOLINT(readability-identifier-naming): the library's own
class App;
}

namespace coppice::cli {

/// What every command takes that begins an operation.
struct WorkOptions {
    std::string format = "text"; ///< of the result
    bool quiet = false, detach = false;
};
/// @param quiet_help what -q leaves
void add_work_options(CLI::App& app, WorkOptions& options, const char* quiet_help);

/// A dead daemon is noticed at once, so this is for the disk: a snapshot is durable when all dirty data is written, and
/// the first byte of a file comes when all of it has been read.
inline constexpr std::chrono::minutes kDiskPatience{30};

/// A GET that may think for minutes, as a diff of large trees. Errors: those of Client::call
Result<nlohmann::json> ask(const api::Client& client, const std::string& target);

/// The body of such an answer as it is, of at most 256 MiB.
Result<std::string> ask_for_text(const api::Client& client, const std::string& target);

/// A call that changes something, with an idempotency key of its own: a broken connection is repeated and does nothing
/// twice. Errors: those of Client::call
Result<api::Client::Answer> change(const api::Client& client, const char* method, const std::string& target,
                                   std::optional<nlohmann::json> body = {});

/// The same where the answer may be an operation: waits for its end with progress on standard error, and fails as it
/// failed. @return its result, or the answer itself when it was none; nothing when detached: then the operation's id
/// has been printed
Result<std::optional<nlohmann::json>> carry_out(const api::Client& client, const std::string& target,
                                                std::optional<nlohmann::json> body, const WorkOptions& options);

/// Waits for the end of an operation that somebody began, and fails as it failed. Ctrl-C says by what it can be
/// stopped, and a second time stops it. @return its result
Result<nlohmann::json> wait_for_end(const api::Client& client, const std::string& id, bool quiet,
                                    std::optional<std::chrono::milliseconds> patience = {});

} // namespace coppice::cli
