#include "options.h"

#include "coppice/base/text.h"
#include "coppice/base/units.h"

#include <array>
#include <cctype>
#include <getopt.h>
#include <string_view>

namespace coppice::runtime_program {

namespace {

// Options without a short form; values beyond any character.
enum LongOption : int {
    OptRoot = 256,
    OptLog,
    OptLogFormat,
    OptDebug,
    OptPidFile,
    OptConsoleSocket,
    OptPreserveFds,
    OptNoNewKeyring,
    OptKeep,
    OptCwd,
    OptCap,
    OptNoNewPrivs,
    OptSystemdCgroup,
    OptRootless,
    OptConfig,
    OptNoPivot,
    OptNoSubreaper,
    OptProcessLabel,
    OptApparmor,
    OptCgroup,
    OptIgnorePaused,
    OptCgroupManager,
    OptInterval,
    OptStats,
    OptLimit = 512, ///< and the index in kUpdateFlags
};

struct Command {
    const char* name;
    const char* arguments;
    const char* summary;
    const char* short_options; ///< "+": options end at the first argument
    std::vector<option> options;
    const char* help;
};

const std::vector<option>& create_options()
{
    static const std::vector<option> kOptions{{"bundle", required_argument, nullptr, 'b'},
                                              {"pid-file", required_argument, nullptr, OptPidFile},
                                              {"console-socket", required_argument, nullptr, OptConsoleSocket},
                                              {"preserve-fds", required_argument, nullptr, OptPreserveFds},
                                              {"no-new-keyring", no_argument, nullptr, OptNoNewKeyring},
                                              {"config", required_argument, nullptr, OptConfig},
                                              {"no-pivot", no_argument, nullptr, OptNoPivot},
                                              {"help", no_argument, nullptr, 'h'}};
    return kOptions;
}

std::vector<option> update_options()
{
    std::vector<option> options{{"resources", required_argument, nullptr, 'r'}, {"help", no_argument, nullptr, 'h'}};
    for (std::size_t i = 0; i < kUpdateFlags.size(); ++i)
        options.push_back({kUpdateFlags[i].name, required_argument, nullptr, OptLimit + static_cast<int>(i)});
    return options;
}

constexpr const char* kUpdateHelp = "  -r, --resources FILE      limits as JSON, like linux.resources; -: from "
                                    "standard input. The others are ignored.\n"
                                    "      --blkio-weight N      share of block devices, 10 to 1000\n"
                                    "      --cpu-period US       period of the CPU limit in microseconds\n"
                                    "      --cpu-quota US        CPU time in a period; -1: no limit\n"
                                    "      --cpu-burst US        CPU time that may be saved up\n"
                                    "      --cpu-share N         share of the CPUs, 2 to 262144\n"
                                    "      --cpu-rt-period US    period of realtime CPU time\n"
                                    "      --cpu-rt-runtime US   realtime CPU time in a period\n"
                                    "      --cpu-idle 0|1        1: run only when nobody else wants to\n"
                                    "      --cpuset-cpus LIST    CPUs to run on, for example 0-2,5\n"
                                    "      --cpuset-mems LIST    memory nodes to use\n"
                                    "      --memory SIZE         memory limit, for example 64m; -1: none\n"
                                    "      --memory-reservation SIZE\n"
                                    "                            soft memory limit\n"
                                    "      --memory-swap SIZE    memory and swap together; -1: no limit\n"
                                    "      --pids-limit N        most processes; -1: no limit\n"
                                    "      --kernel-memory SIZE  ignored: kernels have no such limit any more\n"
                                    "      --kernel-memory-tcp SIZE\n"
                                    "                            likewise\n";

constexpr const char* kCreateHelp =
    "  -b, --bundle DIR          directory with config.json (default: the working directory)\n"
    "      --console-socket PATH socket that gets the terminal, when process.terminal is true\n"
    "      --pid-file FILE       write the pid of the container's init there\n"
    "      --preserve-fds N      hand descriptors 3 to 2 + N to the container\n"
    "      --no-new-keyring      keep the caller's session keyring\n"
    "      --no-pivot            change the root by chroot, where pivot_root cannot be (a ramdisk); less safe\n"
    "      --config FILE         read this instead of config.json in the bundle\n";

const std::vector<Command>& commands()
{
    static const std::vector<Command> kCommands = [] {
        auto run_options = create_options();
        run_options.insert(run_options.end(), {{"detach", no_argument, nullptr, 'd'},
                                               {"keep", no_argument, nullptr, OptKeep},
                                               {"no-subreaper", no_argument, nullptr, OptNoSubreaper}});
        static const std::string kRunHelp =
            cat(kCreateHelp, "  -d, --detach              do not wait\n"
                             "      --keep                do not delete it at the end\n"
                             "      --no-subreaper        accepted for runc's callers: it never is one\n");
        const option help{"help", no_argument, nullptr, 'h'};
        return std::vector<Command>{
            {"create", "ID", "create a container; it waits for `start`", "+b:h", create_options(), kCreateHelp},
            {"start", "ID", "run the program of a created container", "+h", {help}, ""},
            {"state", "ID", "print the state of a container as JSON", "+h", {help}, ""},
            {"kill",
             "ID [SIGNAL]",
             "send a signal (default: TERM) to a container's init",
             "+ah",
             {{"all", no_argument, nullptr, 'a'}, help},
             "  -a, --all                 to every process of the container\n"},
            {"delete",
             "ID",
             "remove a stopped container",
             "+fh",
             {{"force", no_argument, nullptr, 'f'}, help},
             "  -f, --force               kill it first; take whatever is left away\n"},
            {"run", "ID", "create and start a container, wait for its end, delete it", "+b:dh", run_options,
             kRunHelp.c_str()},
            {"exec",
             "ID COMMAND [ARG...]",
             "run one more program in a running container",
             "+p:e:u:g:c:dth",
             {{"process", required_argument, nullptr, 'p'},
              {"env", required_argument, nullptr, 'e'},
              {"user", required_argument, nullptr, 'u'},
              {"additional-gids", required_argument, nullptr, 'g'},
              {"cwd", required_argument, nullptr, OptCwd},
              {"process-label", required_argument, nullptr, OptProcessLabel},
              {"apparmor", required_argument, nullptr, OptApparmor},
              {"cgroup", required_argument, nullptr, OptCgroup},
              {"ignore-paused", no_argument, nullptr, OptIgnorePaused},
              {"no-subreaper", no_argument, nullptr, OptNoSubreaper},
              {"cap", required_argument, nullptr, 'c'},
              {"tty", no_argument, nullptr, 't'},
              {"detach", no_argument, nullptr, 'd'},
              {"pid-file", required_argument, nullptr, OptPidFile},
              {"console-socket", required_argument, nullptr, OptConsoleSocket},
              {"preserve-fds", required_argument, nullptr, OptPreserveFds},
              {"no-new-privs", no_argument, nullptr, OptNoNewPrivs},
              help},
             "  -p, --process FILE        the OCI process object; replaces command and options, see the manual\n"
             "  -e, --env NAME=VALUE      one more environment variable\n"
             "  -u, --user USER[:GROUP]   names are looked up inside\n"
             "  -g, --additional-gids GID one more group\n"
             "      --cwd DIR             working directory inside\n"
             "  -c, --cap CAP             one more capability, for example CAP_NET_ADMIN\n"
             "      --no-new-privs        no program gains rights by set-uid bits\n"
             "      --apparmor PROFILE    AppArmor profile\n"
             "      --process-label LABEL SELinux label\n"
             "      --cgroup [CTRL:]PATH  run it in an existing cgroup below the container's\n"
             "      --ignore-paused       also in a paused container, where it waits until that is resumed\n"
             "      --no-subreaper        accepted for runc's callers: it never is one\n"
             "  -t, --tty                 with a terminal\n"
             "      --console-socket PATH socket that gets the terminal\n"
             "  -d, --detach              do not wait\n"
             "      --pid-file FILE       write the pid there\n"
             "      --preserve-fds N      hand descriptors 3 to 2 + N over\n"},
            {"list",
             "",
             "list containers",
             "+f:qh",
             {{"format", required_argument, nullptr, 'f'}, {"quiet", no_argument, nullptr, 'q'}, help},
             "  -f, --format table|json   form of the output (default: table)\n"
             "  -q, --quiet               ids only\n"},
            {"update", "ID", "change limits of a container", "+r:h", update_options(), kUpdateHelp},
            {"pause", "ID", "halt every process of a container", "+h", {help}, ""},
            {"resume", "ID", "let a paused container go on", "+h", {help}, ""},
            {"events",
             "ID",
             "print statistics again and again, and when memory runs out",
             "+h",
             {{"interval", required_argument, nullptr, OptInterval}, {"stats", no_argument, nullptr, OptStats}, help},
             "      --interval TIME       time between statistics, for example 500ms (default: 5s)\n"
             "      --stats               print them once\n"},
            {"ps",
             "ID [PS OPTION...]",
             "list the processes of a container",
             "+f:h",
             {{"format", required_argument, nullptr, 'f'}, help},
             "  -f, --format table|json   form of the output (default: table, made by ps)\n"},
            {"spec",
             "",
             "write a config.json to start from",
             "+b:h",
             {{"bundle", required_argument, nullptr, 'b'}, {"rootless", no_argument, nullptr, OptRootless}, help},
             "  -b, --bundle DIR          directory to write it to (default: the working directory)\n"
             "      --rootless            for a container of an ordinary user\n"},
            {"features", "", "print what this runtime can do, as JSON", "+h", {help}, ""},
        };
    }();
    return kCommands;
}

const Command* find_command(std::string_view name)
{
    for (const Command& command : commands())
        if (name == command.name) return &command;
    return nullptr;
}

/// "5" or "5,6"
Result<> add_groups(std::string_view text, std::vector<gid_t>& groups)
{
    for (const auto word : split(text, ',')) {
        const auto gid = TRY_DOING("--additional-gids", parse_integer(word, 0, UINT32_MAX - 1));
        groups.push_back(static_cast<gid_t>(gid));
    }
    return {};
}

Result<> apply_option(int found, const char* value, const Command& command, Options& options)
{
    CommandOptions& chosen = options.command;
    switch (found) {
    case 'b': chosen.bundle = value; break;
    case 'a': chosen.all = true; break;
    case 'd': chosen.detach = true; break;
    case 't': chosen.terminal = true; break;
    case 'q': chosen.quiet = true; break;
    case 'p': chosen.process_file = value; break;
    case 'e': chosen.env.emplace_back(value); break;
    case 'u': chosen.user = value; break;
    case 'c': chosen.capabilities.emplace_back(value); break;
    case 'h': options.help = true; break;
    case 'f':
        if (std::string_view{command.name} == "delete") {
            chosen.force = true;
        } else if (std::string_view{value} == "json" || std::string_view{value} == "table") {
            chosen.json = std::string_view{value} == "json";
        } else {
            return fail(ErrorKind::Invalid, cat("--format ", value, ": use table or json"));
        }
        break;
    case OptPidFile: chosen.pid_file = value; break;
    case OptConsoleSocket: chosen.console_socket = value; break;
    case OptCwd: chosen.cwd = value; break;
    case OptKeep: chosen.keep = true; break;
    case OptNoNewKeyring: chosen.no_new_keyring = true; break;
    case OptNoNewPrivs: chosen.no_new_privileges = true; break;
    case OptNoPivot: chosen.no_pivot = true; break;
    case OptNoSubreaper: break;
    case OptConfig: chosen.config = value; break;
    case OptProcessLabel: chosen.selinux_label = value; break;
    case OptApparmor: chosen.apparmor_profile = value; break;
    case OptCgroup: chosen.cgroups.emplace_back(value); break;
    case OptIgnorePaused: chosen.ignore_paused = true; break;
    case OptRootless: chosen.rootless = true; break;
    case 'g': TRY(add_groups(value, chosen.additional_gids)); break;
    case OptPreserveFds: {
        const auto count = TRY_DOING("--preserve-fds", parse_integer(value, 0, kMostPreservedFds));
        chosen.preserve_fds = static_cast<unsigned>(count);
        break;
    }
    case 'r': chosen.resources_file = value; break;
    case OptStats: chosen.stats = true; break;
    case OptInterval: {
        const auto interval = TRY_DOING("--interval", parse_duration_ms(value));
        if (interval < 1 || interval > INT32_MAX)
            return fail(ErrorKind::Invalid, cat("--interval ", value, ": must be from 1ms to 596h"));
        chosen.interval_ms = static_cast<int>(interval);
        break;
    }
    default:
        COPPICE_CHECK(found >= OptLimit);
        chosen.limits.emplace_back(static_cast<std::size_t>(found - OptLimit), value);
    }
    return {};
}

/// getopt's own complaint as an Error: it prints nothing by itself here.
std::unexpected<Error> bad_option(int found, char** argv, std::string_view of)
{
    const std::string_view argument = argv[optind - 1];
    return fail(
        Error{ErrorKind::Invalid, cat(found == ':' ? "option without its value: " : "unknown option: ", argument)}.hint(
            cat("see coppice-runtime ", of, of.empty() ? "" : " ", "--help")));
}

Result<runtime::CgroupDriver> parse_cgroup_driver(std::string_view name)
{
    if (name == "cgroupfs") return runtime::CgroupDriver::Cgroupfs;
    if (name == "systemd") return runtime::CgroupDriver::Systemd;
    if (name == "disabled") return runtime::CgroupDriver::Disabled;
    return fail(ErrorKind::Invalid, cat("--cgroup-manager ", printable(name), ": use cgroupfs, systemd or disabled"));
}

Result<> parse_global(int argc, char** argv, Options& options)
{
    static constexpr std::array<option, 11> kOptions{{{"root", required_argument, nullptr, OptRoot},
                                                      {"log", required_argument, nullptr, OptLog},
                                                      {"log-format", required_argument, nullptr, OptLogFormat},
                                                      {"debug", no_argument, nullptr, OptDebug},
                                                      {"systemd-cgroup", no_argument, nullptr, OptSystemdCgroup},
                                                      {"cgroup-manager", required_argument, nullptr, OptCgroupManager},
                                                      {"rootless", required_argument, nullptr, OptRootless},
                                                      {"help", no_argument, nullptr, 'h'},
                                                      {"version", no_argument, nullptr, 'v'},
                                                      {nullptr, 0, nullptr, 0}}};
    for (int found = 0; (found = ::getopt_long(argc, argv, "+:hv", kOptions.data(), nullptr)) != -1;) {
        switch (found) {
        case OptRoot: options.global.root = ::optarg; break;
        case OptLog: options.global.log = ::optarg; break;
        case OptLogFormat:
            if (std::string_view{::optarg} != "json" && std::string_view{::optarg} != "text")
                return fail(ErrorKind::Invalid, cat("--log-format ", ::optarg, ": use text or json"));
            options.global.log_json = std::string_view{::optarg} == "json";
            break;
        case OptDebug: options.global.debug = true; break;
        case OptSystemdCgroup: options.global.cgroup_driver = runtime::CgroupDriver::Systemd; break;
        case OptCgroupManager: options.global.cgroup_driver = TRY(parse_cgroup_driver(::optarg)); break;
        case OptRootless:
            for (const std::string_view word : {"true", "false", "auto"})
                if (word == ::optarg) options.global.rootless = word;
            if (options.global.rootless != ::optarg)
                return fail(ErrorKind::Invalid, cat("--rootless ", ::optarg, ": use true, false or auto"));
            break;
        case 'h': options.help = true; return {};
        case 'v': options.version = true; return {};
        default: return bad_option(found, argv, "");
        }
    }
    return {};
}

} // namespace

Result<> parse_options(int argc, char** argv, Options& options)
{
    ::opterr = 0;
    TRY(parse_global(argc, argv, options));
    if (options.help || options.version) return {};
    if (::optind >= argc) return fail(Error{ErrorKind::Invalid, "no command given"}.hint("see coppice-runtime --help"));
    const Command* const command = find_command(argv[::optind]);
    if (command == nullptr)
        return fail(Error{ErrorKind::Invalid, cat("unknown command '", argv[::optind], "'")}.hint(
            "see coppice-runtime --help"));
    options.command.command = command->name;

    auto long_options = command->options;
    long_options.push_back({nullptr, 0, nullptr, 0});
    const std::string short_options = cat("+:", std::string_view{command->short_options}.substr(1));
    // `kill` and `delete` are also called with options behind the id; those of `exec` and `ps` belong to what they run.
    const bool options_anywhere = options.command.command != "exec" && options.command.command != "ps";
    const std::string spelled = options_anywhere ? short_options.substr(1) : short_options;
    char** const rest = argv + ::optind;
    const int count = argc - ::optind;
    ::optind = 0; // glibc: begin anew, with another set of options
    for (int found = 0; (found = ::getopt_long(count, rest, spelled.c_str(), long_options.data(), nullptr)) != -1;) {
        if (found == '?' || found == ':') return bad_option(found, rest, command->name);
        TRY(apply_option(found, ::optarg, *command, options));
    }
    options.command.arguments.assign(rest + ::optind, rest + count);
    return {};
}

std::string help_text(const std::string& name)
{
    if (const Command* const command = find_command(name))
        return cat("usage: coppice-runtime [GLOBAL OPTIONS] ", command->name, " [OPTIONS] ", command->arguments, "\n\n",
                   command->summary, "\n\n", command->help, "  -h, --help                this text\n");
    std::string text = "usage: coppice-runtime [GLOBAL OPTIONS] COMMAND [OPTIONS] [ARG...]\n\n"
                       "An OCI container runtime.\n\nCommands:\n";
    for (const Command& command : commands()) {
        std::string line = cat("  ", command.name, ' ', command.arguments);
        line.resize(std::max<std::size_t>(line.size() + 1, 28), ' ');
        text += cat(line, command.summary, '\n');
    }
    return text + "\nGlobal options:\n"
                  "      --root DIR            where the state of containers is kept (default: /run/coppice-runtime; "
                  "for ordinary\n"
                  "                            users coppice-runtime in $XDG_RUNTIME_DIR)\n"
                  "      --log FILE            write messages there, too\n"
                  "      --log-format FORMAT   text or json\n"
                  "      --debug               more messages\n"
                  "      --cgroup-manager WHO  who makes cgroups: cgroupfs (the runtime itself), systemd, disabled\n"
                  "      --systemd-cgroup      the same as --cgroup-manager=systemd\n"
                  "      --rootless WORD       true, false or auto; accepted for runc's callers\n"
                  "  -h, --help                this text\n"
                  "  -v, --version             version and supported specification\n";
}

} // namespace coppice::runtime_program
