#pragma once

#include "coppice/base/result.h"
#include "coppice/runtime/container.h"
#include "update_flags.h"

#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

/// The command line of coppice-runtime. getopt_long, because a start must not pay for more.
namespace coppice::runtime_program {

inline constexpr int kMostPreservedFds = 1024;

struct GlobalOptions {
    std::optional<std::string> root;
    std::string log;
    bool log_json = false;
    bool debug = false;
    /// Accepted for runc's callers. Errors about cgroups of an unprivileged user are no matter of a flag here.
    std::string rootless = "auto";
    runtime::CgroupDriver cgroup_driver = runtime::CgroupDriver::Cgroupfs;
};

struct CommandOptions {
    std::string command; ///< empty with --help and --version
    std::vector<std::string> arguments;
    std::string bundle = ".";
    std::optional<std::string> pid_file, process_file, cwd, user;
    std::string console_socket;
    std::vector<std::string> env, capabilities, cgroups;
    std::vector<gid_t> additional_gids;
    std::optional<std::string> config, apparmor_profile, selinux_label;
    unsigned preserve_fds = 0;
    std::optional<std::string> resources_file;
    UpdateValues limits;
    int interval_ms = 5000;
    bool stats = false;
    bool force = false, all = false, detach = false, keep = false, terminal = false;
    bool no_new_keyring = false, no_pivot = false, ignore_paused = false, rootless = false;
    bool no_new_privileges = false, json = false, quiet = false;
};

struct Options {
    GlobalOptions global;
    CommandOptions command;
    bool help = false, version = false;
};

/// Fills `options`; what stands before an error is there after it, so that the error can go to the log that was asked
/// for. Errors: Invalid, with the command whose --help tells more.
Result<> parse_options(int argc, char** argv, Options& options);

/// Help of the program, or of one command.
std::string help_text(const std::string& command);

} // namespace coppice::runtime_program
