#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "coppice/instance/options.h"
#include "coppice/instance/policy.h"
#include "coppice/instance/schedule.h"
#include "daemon_link.h"
#include "declare.h"
#include "instances.h"

namespace coppice::cli {

namespace {

struct Options {
    std::vector<std::string> names;
    std::string memory, swap, cpus, restart, snapshots;
    std::optional<std::uint64_t> cpu_weight, io_weight;
    std::optional<std::int64_t> pids;
};

/// What is to be merged into an instance's description.
Result<nlohmann::json> patch_of(const Options& options)
{
    nlohmann::json patch = nlohmann::json::object();
    const auto take = [&patch](const char* key, const std::string& text, auto parse, const char* option) -> Result<> {
        if (text == "none")
            patch[key] = nullptr;
        else if (!text.empty())
            patch[key] = TRY_DOING(option, parse(text));
        return {};
    };
    TRY(take("memoryBytes", options.memory, parse_bytes, "--memory"));
    TRY(take("swapBytes", options.swap, instance::parse_swap, "--swap"));
    TRY(take("millicpus", options.cpus, parse_millicpus, "--cpus"));
    if (options.cpu_weight) patch["cpuWeight"] = *options.cpu_weight;
    if (options.io_weight) patch["ioWeight"] = *options.io_weight;
    if (options.pids) patch["pids"] = *options.pids;
    if (!options.restart.empty()) {
        TRY_DOING("--restart", instance::parse_restart(options.restart));
        patch["restart"] = options.restart;
    }
    const auto schedules = [](const std::string& text) -> Result<std::string> {
        TRY(instance::parse_schedules(text));
        return text;
    };
    TRY(take("snapshots", options.snapshots, schedules, "--snapshots"));
    return patch;
}

Result<int> run(const Options& options, const GlobalOptions& global)
{
    const auto patch = TRY(patch_of(options));
    if (patch.empty()) return fail(Error{ErrorKind::Invalid, "nothing to change"}.hint("see: coppice update --help"));
    const auto client = TRY(reach_daemon(global));
    return for_each(options.names, [&](const std::string& name) -> Result<> {
        TRY_DOING(cat("update ", name),
                  client.call({.method = "PATCH", .target = instance_target(name), .body = patch}));
        return {};
    });
}

} // namespace

void add_update(CLI::App& app, Command& chosen)
{
    const CLI::Range weights{std::int64_t{1}, instance::kMaxWeight};
    auto [command, options] = declare<Options>(
        app, "update", "Change limits and restart policy of instances, at once where they run", chosen, run);
    command.add_option("names", options.names, "Names of the instances")
        ->type_name("NAME")
        ->required()
        ->check(&not_empty);
    command.add_option("-m,--memory", options.memory, "Memory limit, for example 64m or 1.5g; none: without")
        ->type_name("SIZE");
    command.add_option("--swap", options.swap, "Limit of swap beyond memory; -1: no limit; none: as much as memory")
        ->type_name("SIZE");
    command.add_option("--cpus", options.cpus, "CPU limit, for example 0.5 or 2; none: without")->type_name("NUMBER");
    command.add_option("--cpu-weight", options.cpu_weight, "Share of the CPUs beside others, 1 to 10000")
        ->type_name("NUMBER")
        ->check(weights);
    command.add_option("--io-weight", options.io_weight, "Share of the disks beside others, 1 to 10000")
        ->type_name("NUMBER")
        ->check(weights);
    command.add_option("--pids", options.pids, "Limit of processes; -1: none")
        ->type_name("NUMBER")
        ->check(CLI::Range(std::int64_t{-1}, std::int64_t{4194304}));
    command.add_option("--restart", options.restart, "no, on-failure[:TIMES], always or unless-stopped")
        ->type_name("POLICY");
    command
        .add_option("--snapshots", options.snapshots,
                    "Snapshots by the clock, such as hourly:24,daily:7; none: without")
        ->type_name("SCHEDULES");
    command.footer("Example: coppice update -m 512m --cpus 2 web");
}

} // namespace coppice::cli
