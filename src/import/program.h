#pragma once

#include "coppice/import/context.h"
#include "coppice/os/spawn.h"

#include <atomic>
#include <chrono>
#include <csignal>
#include <functional>
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
    /// Asked a few times per second while `finish` waits; its error ends the program. Empty: nobody is asked.
    std::function<Result<>()> watch = {};
    std::chrono::milliseconds grace{5000}; ///< that it has to end by itself when it is asked to
};

/// Another program that works for us. On a stop request it is asked to end (SIGTERM); what is left of it and of all
/// that it started when the grace is over, when it has ended, or when the object goes, is killed. One thread.
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
    /// It is not needed any more: as on a stop request. Does not wait.
    void ask_to_end() { end(SIGTERM); }
    /// Waits for its end, at most the grace once it is to end. Errors: Unavailable (stopped), those of `watch`
    Result<Ended> finish();

private:
    Program(os::Process process, os::Fd output, os::Fd errors, const ProgramOptions& options, std::stop_token stop);
    void end(int signal);
    Result<> wait();

    std::mutex mutex_; ///< its number is given to others once it is waited for
    os::Process process_;
    bool over_ = false;
    std::atomic<bool> is_to_end_ = false;
    os::Fd output_, errors_;
    std::string name_;
    std::function<Result<>()> watch_;
    std::chrono::milliseconds grace_;
    std::stop_token stop_;
    std::optional<std::stop_callback<std::function<void()>>> on_stop_;
};

/// Runs it to its end. Errors: as start; Os (it failed: its last words)
Result<> run_program(const ProgramOptions& options, const Context& context);
/// What its end means. Errors: Os, with the last words
Result<> check_ended(const Program::Ended& ended, std::string_view name);

} // namespace coppice::imports
