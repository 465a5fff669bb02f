#include "commands.h"
#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "coppice/os/event_loop.h"
#include "coppice/os/file.h"
#include "coppice/runtime/control.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <unistd.h>

// Commands that look at a running container.
namespace coppice::runtime_program {

namespace {

bool print_line(const std::string& line)
{
    return std::printf("%s\n", line.c_str()) >= 0 && std::fflush(stdout) == 0; // false: nobody reads any more
}

/// Output of the host's ps(1), whose errors go to our own standard error.
Result<std::string> output_of_ps(const std::vector<std::string>& options)
{
    std::array<int, 2> ends{-1, -1};
    if (::pipe2(ends.data(), O_CLOEXEC) < 0) return fail_os(errno, "create a pipe");
    const os::Fd reading{ends[0]};
    os::Fd writing{ends[1]};
    std::vector<char*> args{const_cast<char*>("ps")};
    for (const std::string& option : options)
        args.push_back(const_cast<char*>(option.c_str()));
    args.push_back(nullptr);
    auto ps = TRY(os::fork_process({}, [&] {
        os::reset_signals();
        ::dup2(writing.get(), STDOUT_FILENO);
        ::execvp("ps", args.data());
        return errno == ENOENT ? 127 : 126;
    }));
    writing.reset();
    constexpr std::size_t kMaxBytes = 64U << 20;
    auto text = TRY(os::read_all(reading, kMaxBytes, "the output of ps"));
    const int status = TRY(ps.wait()).code;
    if (status == 127)
        return fail(Error{ErrorKind::NotFound, "there is no program ps on this host"}.hint(
            "install procps, or use --format json"));
    if (status != 0) return fail(ErrorKind::Unavailable, cat("ps ended with status ", status));
    return text;
}

/// The heading and the lines of those processes.
Result<std::string> lines_of(std::string_view output, const std::vector<pid_t>& pids)
{
    const auto heading = next_part(output, '\n');
    const auto titles = words_of(heading);
    const auto column = std::find(titles.begin(), titles.end(), "PID");
    if (column == titles.end())
        return fail(
            Error{ErrorKind::Invalid, "the output of ps has no column PID"}.hint("choose ps options that print one"));
    const auto index = static_cast<std::size_t>(column - titles.begin());
    std::string lines = cat(heading, '\n');
    while (!output.empty()) {
        const auto line = next_part(output, '\n');
        const auto words = words_of(line);
        const auto pid = words.size() > index ? parse_integer(words[index], 1, INT32_MAX)
                                              : Result<std::int64_t>{std::unexpect, ErrorKind::Invalid, "short line"};
        if (pid && std::find(pids.begin(), pids.end(), static_cast<pid_t>(*pid)) != pids.end())
            lines += cat(line, '\n');
    }
    return lines;
}

} // namespace

Result<int> show_events(const Options& options, const runtime::StateRoot& root)
{
    const auto id = TRY(one_argument(options.command));
    if (options.command.stats)
        print_line(TRY(runtime::stats_event(root, id)));
    else
        TRY(runtime::watch_events(root, id, options.command.interval_ms, print_line));
    return 0;
}

Result<int> list_processes(const Options& options, const runtime::StateRoot& root)
{
    const auto& arguments = options.command.arguments;
    if (arguments.empty())
        return fail(Error{ErrorKind::Invalid, "ps takes a container id"}.hint("see coppice-runtime ps --help"));
    const auto pids = TRY(runtime::processes(root, arguments.front()));
    if (options.command.json) {
        std::string list;
        for (const pid_t pid : pids)
            list += cat(list.empty() ? "" : ",", pid);
        std::printf("[%s]\n", list.c_str());
        return 0;
    }
    std::vector<std::string> ps_options{arguments.begin() + 1, arguments.end()};
    if (ps_options.empty()) ps_options.emplace_back("-ef");
    const auto output = TRY(output_of_ps(ps_options));
    std::fputs(TRY(lines_of(output, pids)).c_str(), stdout);
    return 0;
}

} // namespace coppice::runtime_program
