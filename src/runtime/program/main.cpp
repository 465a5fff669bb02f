// coppice-runtime: an OCI runtime. Single-threaded, static, without a daemon; its state is a directory.

#include "commands.h"
#include "coppice/base/log.h"
#include "coppice/os/executable.h"
#include "coppice/os/file.h"
#include "coppice/runtime/features.h"

#include <cstdio>
#include <sys/prctl.h>
#include <unistd.h>

namespace {

constexpr const char* kProgram = "coppice-runtime";

using coppice::runtime_program::GlobalOptions;

/// Status after an error of our own.
constexpr int kFailed = 1;
constexpr int kExecFailed = 255; // as runc's: a program's own 1 is more likely

/// The error goes to standard error and, when there is one, to the log, where podman and containerd look for it.
/// @return the status to end with
int report(const coppice::Error& error, const GlobalOptions& options, int status = kFailed)
{
    using namespace coppice;
    log::error("", error.line());
    if (options.log.empty()) return status;
    log::configure(kProgram, STDERR_FILENO, log::Format::Text, log::Level::Info);
    log::error("", error.line());
    return status;
}

/// Lines of the log go to its file, or to standard error without one. An unwritable log is an error of its own.
coppice::Result<coppice::os::Fd> open_log(const GlobalOptions& options)
{
    using namespace coppice;
    os::Fd file;
    if (!options.log.empty())
        file = TRY_DOING("--log", os::open_at(os::kCwd, options.log, O_WRONLY | O_CREAT | O_APPEND, 0644));
    log::configure(kProgram, file.is_open() ? file.get() : STDERR_FILENO,
                   options.log_json ? log::Format::Json : log::Format::Text,
                   options.debug ? log::Level::Debug : log::Level::Info);
    return file;
}

} // namespace

int main(int argc, char** argv)
{
    using namespace coppice;
    // A program executed by descriptor is named after the descriptor. Which command it is does not tell: entry.cpp goes
    // by any word.
    ::prctl(PR_SET_NAME, kProgram);
    log::configure(kProgram, STDERR_FILENO, log::Format::Text, log::Level::Info);
    runtime_program::Options options;
    if (const auto parsed = runtime_program::parse_options(argc, argv, options); !parsed) {
        const auto log_file = open_log(options.global);
        return report(parsed.error(), log_file ? options.global : GlobalOptions{});
    }
    if (options.help) {
        std::fputs(runtime_program::help_text(options.command.command).c_str(), stdout);
        return 0;
    }
    if (options.version) {
        std::printf("coppice-runtime version %s\nspec: %s\nlibseccomp: %s\n", COPPICE_VERSION,
                    coppice::runtime::kSpecVersion, coppice::runtime::libseccomp_version().c_str());
        return 0;
    }
    const auto log_file = open_log(options.global);
    if (!log_file) return report(log_file.error(), {});
    const std::string& command = options.command.command;
    // Only these put a process of ours where a container can reach it; the others need not pay for it.
    if (command == "create" || command == "run" || command == "exec") {
        if (const auto safe = os::protect_own_executable(argv, environ); !safe)
            return report(safe.error(), options.global);
    }
    const auto status = runtime_program::run_command(options);
    if (!status) return report(status.error(), options.global, command == "exec" ? kExecFailed : kFailed);
    return *status;
}
