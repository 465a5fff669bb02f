#pragma once

#include "coppice/import/context.h"
#include "coppice/os/spawn.h"

#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace coppice::imports {

struct ProgramOptions {
    std::vector<std::string> arguments;
    int further = -1;    ///< borrowed; descriptor 3
    std::string package; ///< of Debian, for the hint when the program is missing
    bool has_output = false;
};

/// Another program that works for us. It is ended, with all that it started, on a stop request and when the object
/// goes.
class Program {
public:
    /// Errors: NotFound, with the package to install
    static Result<std::unique_ptr<Program>> start(const ProgramOptions& options, const Context& context);
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;
    ~Program();

    /// What it writes to its standard output.
    [[nodiscard]] os::Fd take_output() { return std::move(output_); }
    struct Ended {
        os::ExitStatus status;
        std::string last_words; ///< the last line of its standard error
    };
    /// Waits for its end.
    Result<Ended> finish();

private:
    Program(os::Process process, os::Fd output, os::Fd errors, std::string name, std::stop_token stop);
    void end(int signal);

    std::mutex mutex_; ///< its number is given to others once it is waited for
    os::Process process_;
    bool over_ = false;
    os::Fd output_, errors_;
    std::string name_;
    std::stop_token stop_;
    std::optional<std::stop_callback<std::function<void()>>> on_stop_;
};

/// Runs it to its end. Errors: as start; Os (it failed: its last words)
Result<> run_program(const ProgramOptions& options, const Context& context);
/// What its end means. Errors: Os, with the last words
Result<> check_ended(const Program::Ended& ended, std::string_view name);

} // namespace coppice::imports
