// coppice-runtime: an OCI runtime. Single-threaded, static, without a daemon; its state is a directory.

#include "commands.h"
#include "coppice/base/log.h"
#include "coppice/os/executable.h"
#include "coppice/os/file.h"

#include <cstdio>
#include <sys/prctl.h>
#include <unistd.h>

namespace {

constexpr const char* kProgram = "coppice-runtime";

/// The error goes to standard error and, when there is one, to the log, where podman and containerd look for it.
int report(const coppice::Error& error, const coppice::runtime_program::GlobalOptions& options)
{
    using namespace coppice;
    log::configure(kProgram, STDERR_FILENO,
                   options.log.empty() && options.log_json ? log::Format::Json : log::Format::Text, log::Level::Info);
    log::error("", error.line());
    if (!options.log.empty()) {
        const auto file = os::open_at(os::kCwd, options.log, O_WRONLY | O_CREAT | O_APPEND, 0644);
        if (file) {
            log::configure(kProgram, file->get(), options.log_json ? log::Format::Json : log::Format::Text,
                           log::Level::Info);
            log::error("", error.line());
        } else {
            log::error("", file.error().line());
        }
    }
    return 1;
}

} // namespace

int main(int argc, char** argv)
{
    using namespace coppice;
    auto options = runtime_program::parse_options(argc, argv);
    if (!options) return report(options.error(), {});
    if (options->help) {
        std::fputs(runtime_program::help_text(options->command.command).c_str(), stdout);
        return 0;
    }
    if (options->version) {
        std::puts("coppice-runtime version " COPPICE_VERSION "\nspec: 1.2.1");
        return 0;
    }
    const std::string& command = options->command.command;
    // Only these put a process of ours where a container can reach it; the others need not pay for it.
    if (command == "create" || command == "run" || command == "exec") {
        if (const auto safe = os::protect_own_executable(argv, environ); !safe)
            return report(safe.error(), options->global);
        ::prctl(PR_SET_NAME, kProgram); // a program executed by descriptor is named after the descriptor
    }
    const auto status = runtime_program::run_command(*options);
    if (!status) return report(status.error(), options->global);
    return *status;
}
