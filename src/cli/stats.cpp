#include "coppice/base/json_text.h"
#include "coppice/base/time.h"
#include "declare.h"
#include "listing.h"
#include "watch_text.h"

#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace coppice::cli {

namespace {

constexpr long kIntervalMs = 1000;

struct StatsOptions {
    std::vector<std::string> names;
    ListOptions list;
    bool no_stream = false;
};

/// Remembers what it measured last: of processor time the kernel tells only the sum.
class Meter {
public:
    Meter(instance::InstanceStore store, std::vector<std::string> names)
        : store_{std::move(store)}, names_{std::move(names)}
    {
    }
    /// Errors: those of a named instance that does not run
    [[nodiscard]] Result<> check() const
    {
        for (const std::string& name : names_)
            TRY(instance::read_usage(store_, name));
        return {};
    }
    /// Without those that have ended.
    Result<std::vector<Sample>> measure()
    {
        std::vector<Sample> samples;
        std::map<std::string, instance::Usage> now;
        for (const std::string& name : names_.empty() ? TRY(store_.list()) : names_) {
            const auto usage = instance::read_usage(store_, name);
            if (!usage) continue;
            const auto before = before_.find(name);
            samples.push_back(
                {name, *usage, before == before_.end() ? std::nullopt : cpu_percent(before->second, *usage)});
            now.emplace(name, *usage);
        }
        before_ = std::move(now);
        return samples;
    }

private:
    instance::InstanceStore store_;
    std::vector<std::string> names_; ///< empty: all
    std::map<std::string, instance::Usage> before_;
};

/// One sample after another, as the output wants them.
class Screen {
public:
    Screen(Table::Form form, bool single)
        : form_{form}, single_{single}, in_place_{form == Table::Form::Text && !single && ::isatty(STDOUT_FILENO) == 1}
    {
    }
    void show(const std::vector<Sample>& samples)
    {
        auto text = samples_text(samples, form_);
        if (form_ == Table::Form::Json && !single_)
            text = json_text(samples_json(samples)) + '\n';
        else if (form_ != Table::Form::Json && !is_first_ && !in_place_)
            text.erase(0, text.find('\n') + 1); // the headings stand there already
        if (in_place_) std::fputs("\033[H\033[2J", stdout);
        std::fputs(text.c_str(), stdout);
        std::fflush(stdout);
        is_first_ = false;
    }

private:
    Table::Form form_;
    bool single_, in_place_, is_first_ = true;
};

Result<int> show_stats(const StatsOptions& options, const GlobalOptions& global)
{
    Screen screen{TRY(Table::parse_form(options.list.format)), options.no_stream};
    Meter meter{TRY(instance::InstanceStore::look(global.root)), options.names};
    TRY(meter.check());
    TRY(meter.measure());
    for (;;) {
        sleep_ms(kIntervalMs);
        const auto samples = TRY(meter.measure());
        if (samples.empty() && !options.names.empty() && !options.no_stream) return 0; // all have ended
        screen.show(samples);
        if (options.no_stream) return 0;
    }
}

} // namespace

void add_stats(CLI::App& app, Command& chosen)
{
    auto [command, options] =
        declare<StatsOptions>(app, "stats", "What running instances take of the host, each second", chosen, show_stats);
    command.add_option("names", options.names, "Names of the instances (default: all that run)")
        ->type_name("NAME")
        ->check(&not_empty);
    command.add_flag("--no-stream", options.no_stream, "One sample only");
    add_list_options(command, options.list, nullptr);
    command.footer(
        "Example: coppice stats --no-stream --format json web\n"
        "Shares of the processor are of one processor: 200 is two of them. - is what this host does not count,\n"
        "or no limit.");
}

} // namespace coppice::cli
