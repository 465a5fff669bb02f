#include "command.h"
#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/base/units.h"
#include "coppice/instance/log_reader.h"
#include "coppice/os/directory_watch.h"
#include "coppice/os/file.h"
#include "declare.h"

#include <cstdio>
#include <unistd.h>

namespace coppice::cli {

namespace {

struct Options {
    std::string name, since, until, tail;
    bool follow = false, timestamps = false;
};

/// Each stream of the instance goes to ours, in blocks and in the order of the log.
class Printer {
public:
    explicit Printer(bool with_times) : with_times_{with_times} {}

    Result<> print(const instance::LogPiece& piece)
    {
        constexpr std::size_t kBlockBytes = 64U << 10;
        if (piece.stream != stream_ || text_.size() > kBlockBytes) TRY(flush());
        stream_ = piece.stream;
        append_piece(text_, piece, with_times_);
        return {};
    }
    /// Errors: of who reads our output, too
    Result<> flush()
    {
        const bool is_out = stream_ == instance::LogStream::Out;
        auto written =
            os::write_all(is_out ? STDOUT_FILENO : STDERR_FILENO, text_, is_out ? "standard output" : "standard error");
        text_.clear();
        return written;
    }

private:
    bool with_times_;
    instance::LogStream stream_ = instance::LogStream::Out;
    std::string text_;
};

Result<instance::LogQuery> query_of(const Options& options)
{
    const timespec moment = now();
    instance::LogQuery query{.since = {}, .until = {}, .tail = {}, .follow = options.follow};
    if (!options.since.empty()) query.since = TRY_DOING("--since", instance::parse_log_time(options.since, moment));
    if (!options.until.empty()) query.until = TRY_DOING("--until", instance::parse_log_time(options.until, moment));
    if (options.tail != "all")
        query.tail = static_cast<std::uint64_t>(TRY_DOING("--tail", parse_integer(options.tail, 0, INT64_MAX)));
    return query;
}

/// Waits until there may be more to read; the end of an instance is not always told.
Result<> wait_for_more(Result<os::DirectoryWatch>& watch)
{
    constexpr int kPatienceMs = 100;
    if (watch) return watch->wait(kPatienceMs);
    sleep_ms(kPatienceMs);
    return {};
}

Result<> follow(const instance::InstanceStore& store, const Options& options, const std::function<Result<>()>& show,
                const os::Fd& directory, const std::string& until)
{
    auto watch = os::DirectoryWatch::open(directory.get());
    for (bool go_on = true; go_on;) {
        // Asked before the last look, so that nothing written before its end is missed.
        const auto running = store.is_running(options.name);
        go_on = running && *running && (until.empty() || to_rfc3339(now()) <= until);
        TRY(show());
        if (go_on) TRY(wait_for_more(watch));
    }
    return {};
}

Result<int> show(const Options& options, const GlobalOptions& global)
{
    const auto query = TRY(query_of(options));
    const auto store = TRY(instance::InstanceStore::look(global.root));
    const auto directory = TRY(store.find_directory(options.name));
    auto reader = TRY(instance::LogReader::open(directory.get(), query));
    Printer printer{options.timestamps};
    const auto show_more = [&]() -> Result<> {
        TRY(reader.read([&printer](const instance::LogPiece& piece) { return printer.print(piece); }));
        return printer.flush();
    };
    if (options.follow)
        TRY(follow(store, options, show_more, directory, query.until));
    else
        TRY(show_more());
    if (reader.damaged() > 0)
        std::fprintf(stderr, "coppice: %s\n", cat(reader.damaged(), " damaged lines of the log were left out").c_str());
    if (reader.gaps() > 0)
        std::fprintf(stderr,
                     "coppice: parts of the log had gone before they could be shown (keep more with --log-opt)\n");
    return 0;
}

} // namespace

void add_logs(CLI::App& app, Command& chosen)
{
    auto [command, options] = declare<Options>(app, "logs", "Show the output of a detached instance", chosen, show);
    options.tail = "all";
    command.add_option("name", options.name, "Name of the instance")->type_name("NAME")->required();
    command.add_flag("-f,--follow", options.follow, "Go on until the instance stops");
    command
        .add_option("--since", options.since,
                    "From then on: 2026-01-31T08:15:00Z, seconds since 1970, or 10m for ten minutes ago")
        ->type_name("TIME")
        ->check(&not_empty);
    command.add_option("--until", options.until, "Until then")->type_name("TIME")->check(&not_empty);
    command.add_option("-n,--tail", options.tail, "So many lines from the end, or all (default: all)")
        ->type_name("NUMBER")
        ->check(&not_empty);
    command.add_flag("-t,--timestamps", options.timestamps, "With the time in front of each line");
    command.footer("Example: coppice logs -f --since 10m web");
}

} // namespace coppice::cli
