#include "command.h"
#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/instance/log_file.h"
#include "coppice/os/file.h"

#include <CLI/CLI.hpp>
#include <array>
#include <cerrno>
#include <memory>
#include <unistd.h>

namespace coppice::cli {

namespace {

/// Copies what is there from the file's position on. Errors: of the reader of our output, too
Result<> copy_rest(const os::Fd& file)
{
    std::array<char, 65536> buffer{};
    for (;;) {
        const auto got = os::retry_eintr([&] { return ::read(file.get(), buffer.data(), buffer.size()); });
        if (got < 0) return fail_os(errno, "read the log");
        if (got == 0) return {};
        TRY(os::write_all(STDOUT_FILENO, {buffer.data(), static_cast<std::size_t>(got)}, "standard output"));
    }
}

Result<std::optional<os::Fd>> open_log(const os::Fd& directory, const char* name)
{
    auto file = os::open_at(directory.get(), name, O_RDONLY | O_NOFOLLOW);
    if (file) return std::optional<os::Fd>{*std::move(file)};
    if (file.error().kind() == ErrorKind::NotFound) return std::optional<os::Fd>{};
    return fail(std::move(file).error());
}

Result<bool> was_rotated(const os::Fd& directory, const os::Fd& file)
{
    struct stat ours{};
    if (::fstat(file.get(), &ours) < 0) return fail_os(errno, "stat the log");
    const auto current = TRY(os::find_status(directory.get(), instance::kLogName, false));
    return current && current->st_ino != ours.st_ino;
}

Result<int> show(const std::string& name, bool follow, const GlobalOptions& global)
{
    const auto store = TRY(instance::InstanceStore::look(global.root));
    const auto directory = TRY(store.find_directory(name));
    if (const auto older = TRY(open_log(directory, instance::kOlderLogName))) TRY(copy_rest(*older));
    auto file = TRY(open_log(directory, instance::kLogName));
    if (file) TRY(copy_rest(*file));
    while (follow) {
        // Asked before the last look, so that nothing written before its end is missed.
        const auto running = store.is_running(name);
        const bool go_on = running && *running;
        if (file && TRY(was_rotated(directory, *file))) {
            TRY(copy_rest(*file));
            file.reset();
        }
        if (!file) file = TRY(open_log(directory, instance::kLogName));
        if (file) TRY(copy_rest(*file));
        if (!go_on) break;
        sleep_ms(100);
    }
    return 0;
}

} // namespace

void add_logs(CLI::App& app, Command& chosen)
{
    struct Options {
        std::string name;
        bool follow = false;
    };
    auto options = std::make_shared<Options>();
    CLI::App* const command = app.add_subcommand("logs", "Show the output of a detached instance");
    command->add_option("name", options->name, "Name of the instance")->type_name("NAME")->required();
    command->add_flag("-f,--follow", options->follow, "Go on until the instance stops");
    command->footer("Example: coppice logs -f web");
    command->callback([options, &chosen] {
        chosen = [options](const GlobalOptions& global) { return show(options->name, options->follow, global); };
    });
}

} // namespace coppice::cli
