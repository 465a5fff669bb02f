#pragma once

#include "coppice/base/result.h"
#include "coppice/instance/store.h"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace CLI { // NOLINT(readability-identifier-naming): the library's own
class App;
}

/// The commands of `coppice`. Each `add_*` declares one command with its options; when the user chose it, `chosen` is
/// set to what runs it. The value of a command is the exit status of the program.
namespace coppice::cli {

struct GlobalOptions {
    std::string root = instance::kDefaultRoot;
    std::optional<std::vector<std::string>> behind_dashes; ///< what stands behind the first "--"
};
using Command = std::function<Result<int>(const GlobalOptions&)>;

void add_run(CLI::App& app, Command& chosen);
void add_exec(CLI::App& app, Command& chosen);
void add_ps(CLI::App& app, Command& chosen);
void add_logs(CLI::App& app, Command& chosen);
void add_stop(CLI::App& app, Command& chosen);
void add_rm(CLI::App& app, Command& chosen);
void add_doctor(CLI::App& app, Command& chosen);

/// State root of `coppice-runtime` when none is given; the doctor looks there too.
inline constexpr const char* kContainerRoot = "/run/coppice-runtime";

/// The command and its arguments behind ROOT or NAME, with or without the "--" between them.
/// @param leftover what the parser left over before the first "--"
std::vector<std::string> command_of(std::vector<std::string> leftover, const GlobalOptions& global);

} // namespace coppice::cli
