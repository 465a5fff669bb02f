#include "coppice/instance/config.h"

#include "coppice/base/environment.h"
#include "coppice/base/id.h"
#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "coppice/instance/boot.h"
#include "coppice/os/process.h"

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace coppice::instance {

namespace {

/// What few instances have is written only where it is there.
void add_options(nlohmann::ordered_json& document, const InstanceConfig& config)
{
    const auto add = [&document](const char* key, const auto& value) {
        if (value != std::remove_cvref_t<decltype(value)>{}) document[key] = value;
    };
    const auto add_number = [&document](const char* key, const auto& value) {
        if (value) document[key] = *value;
    };
    add("boot", config.boot);
    add("init", config.init);
    add_number("swapBytes", config.swap_bytes);
    add_number("cpuWeight", config.cpu_weight);
    add_number("ioWeight", config.io_weight);
    add("keepIdentity", config.keep_identity);
    add("readOnly", config.read_only);
    add("capAdd", config.cap_add);
    add("capDrop", config.cap_drop);
    add("noNewPrivileges", config.no_new_privileges);
    if (config.seccomp.starts_with('{'))
        document["seccomp"] = nlohmann::ordered_json::parse(config.seccomp, nullptr, false);
    else
        add("seccomp", config.seccomp);
    add("apparmor", config.apparmor);
    add("labels", config.labels);
    add("stopSignal", config.stop_signal);
    add_number("stopTimeoutSeconds", config.stop_timeout_seconds);
    if (config.on_stop != OnStop::Keep) document["onStop"] = to_word(config.on_stop);
    if (config.restart.when != RestartPolicy::When::No) document["restart"] = to_text(config.restart);
    if (const auto& check = config.health)
        document["health"] = {{"command", check->command},
                              {"intervalMs", check->interval_ms},
                              {"timeoutMs", check->timeout_ms},
                              {"startPeriodMs", check->start_period_ms},
                              {"retries", check->retries}};
    add("snapshots", to_text(config.snapshots));
    add("openInput", config.open_input);
    add("awaitsStart", config.awaits_start);
    add("finished", config.finished);
    add("restarts", config.restarts);
    add("stopAsked", config.stop_asked);
    add("undecided", config.undecided);
    add_number("logMaxBytes", config.log_max_bytes);
    add_number("logMaxFiles", config.log_max_files);
    for (const Ulimit& limit : config.ulimits)
        document["ulimits"].push_back({{"name", limit.name}, {"soft", limit.soft}, {"hard", limit.hard}});
    for (const Tmpfs& tmpfs : config.tmpfs)
        document["tmpfs"].push_back({{"destination", tmpfs.destination}, {"options", tmpfs.options}});
    for (const Device& device : config.devices)
        document["devices"].push_back(
            {{"source", device.source}, {"destination", device.destination}, {"access", device.access}});
}

/// What is undone at the end has no history, and what is on no vdisk neither.
Result<> check_schedules(const InstanceConfig& config)
{
    if (config.snapshots.empty()) return {};
    if (config.mode != Mode::Private || config.remove_at_end)
        return fail(ErrorKind::Invalid, "snapshots by a schedule are for private instances: all is undone here");
    if (config.root.starts_with('/'))
        return fail(Error{ErrorKind::Invalid, "snapshots by a schedule: a directory or image has none"}.hint(
            "make a vdisk of it: coppice vdisk import NAME ROOT"));
    return {};
}

/// What it is to do at its end, and what has become of it.
Result<> read_life(const JsonNode& node, InstanceConfig& config)
{
    config.on_stop = TRY(parse_on_stop(TRY(node.text_or("onStop", "keep"))));
    config.restart = TRY(parse_restart(TRY(node.text_or("restart", "no"))));
    if (const auto check = TRY(node.find("health"))) {
        constexpr std::int64_t kMost = 366LL * 24 * 3600 * 1000;
        HealthCheck health;
        health.command = TRY(TRY(check->get("command")).texts());
        if (!health.command.empty() && health.command.front().empty())
            return fail(TRY(check->get("command")).complain("must name a command"));
        health.interval_ms = TRY(check->find_integer("intervalMs", 1, kMost)).value_or(health.interval_ms);
        health.timeout_ms = TRY(check->find_integer("timeoutMs", 1, kMost)).value_or(health.timeout_ms);
        health.start_period_ms = TRY(check->find_integer("startPeriodMs", 0, kMost)).value_or(health.start_period_ms);
        health.retries = static_cast<int>(TRY(check->find_integer("retries", 1, INT_MAX)).value_or(health.retries));
        config.health = std::move(health);
    }
    using When = RestartPolicy::When;
    if (config.remove_at_end && config.restart.when != When::No)
        return fail(ErrorKind::Invalid, "removeAtEnd and restart do not go together: nothing is left to be started");
    if (config.on_stop == OnStop::Ask && config.restart.when != When::No)
        return fail(ErrorKind::Invalid, "onStop ask and restart do not go together: nobody is asked at a restart");
    if (config.on_stop != OnStop::Keep && config.mode == Mode::Shared)
        return fail(ErrorKind::Invalid, "onStop is for mode private: in mode shared all is undone");
    if (config.on_stop == OnStop::Branch && config.root.starts_with('/'))
        return fail(Error{ErrorKind::Invalid, "onStop branch: a directory or image has no snapshots"}.hint(
            "make a vdisk of it: coppice vdisk import NAME ROOT"));
    config.snapshots = TRY_DOING("snapshots", parse_schedules(TRY(node.text_or("snapshots", ""))));
    TRY(check_schedules(config));
    config.open_input = TRY(node.boolean_or("openInput", false));
    config.awaits_start = TRY(node.boolean_or("awaitsStart", false));
    config.finished = TRY(node.text_or("finished", ""));
    config.restarts = static_cast<int>(TRY(node.find_integer("restarts", 0, INT_MAX)).value_or(0));
    config.stop_asked = TRY(node.boolean_or("stopAsked", false));
    config.undecided = TRY(node.boolean_or("undecided", false));
    return {};
}

Result<> read_options(const JsonNode& node, InstanceConfig& config)
{
    config.boot = TRY(node.boolean_or("boot", false));
    config.init = TRY(node.boolean_or("init", false));
    if (config.boot && config.init) return fail(ErrorKind::Invalid, "boot and init do not go together");
    config.swap_bytes = TRY(node.find_integer("swapBytes", -1));
    for (const auto& [key, weight] : {std::pair{"cpuWeight", &config.cpu_weight}, {"ioWeight", &config.io_weight}})
        if (const auto number = TRY(node.find_integer(key, 1, kMaxWeight)))
            *weight = static_cast<std::uint64_t>(*number);
    config.keep_identity = TRY(node.boolean_or("keepIdentity", false));
    config.read_only = TRY(node.boolean_or("readOnly", false));
    config.cap_add = TRY(node.texts_or_none("capAdd"));
    config.cap_drop = TRY(node.texts_or_none("capDrop"));
    config.no_new_privileges = TRY(node.boolean_or("noNewPrivileges", false));
    if (const auto seccomp = TRY(node.find("seccomp"))) {
        config.seccomp = seccomp->value().is_object() ? seccomp->value().dump() : TRY(seccomp->text());
        if (!config.seccomp.starts_with('{') && config.seccomp != kUnconfined)
            return fail(seccomp->complain(cat("must be an object or \"", kUnconfined, '"')));
    }
    config.apparmor = TRY(node.text_or("apparmor", ""));
    TRY(node.each_member("labels", [&config](const std::string& name, const JsonNode& value) -> Result<> {
        config.labels[name] = TRY(value.text());
        return {};
    }));
    config.stop_signal = TRY(node.text_or("stopSignal", ""));
    if (!config.stop_signal.empty()) TRY_DOING("stopSignal", os::parse_signal(config.stop_signal));
    config.stop_timeout_seconds = TRY(node.find_integer("stopTimeoutSeconds", 0, kMaxStopTimeout));
    config.log_max_bytes = TRY(node.find_integer("logMaxBytes", kLeastLogBytes, kMostLogBytes));
    config.log_max_files = TRY(node.find_integer("logMaxFiles", 1, kMostLogFiles));
    TRY(node.each("ulimits", [&config](const JsonNode& entry) -> Result<> {
        Ulimit limit;
        limit.name = TRY(TRY(entry.get("name")).text());
        limit.soft = TRY(TRY(entry.get("soft")).unsigned_integer());
        limit.hard = TRY(TRY(entry.get("hard")).unsigned_integer());
        config.ulimits.push_back(std::move(limit));
        return {};
    }));
    TRY(node.each("tmpfs", [&config](const JsonNode& entry) -> Result<> {
        Tmpfs tmpfs;
        tmpfs.destination = TRY(TRY(entry.get("destination")).text());
        tmpfs.options = TRY(entry.texts_or_none("options"));
        config.tmpfs.push_back(std::move(tmpfs));
        return {};
    }));
    return node.each("devices", [&config](const JsonNode& entry) -> Result<> {
        Device device;
        device.source = TRY(TRY(entry.get("source")).text());
        device.destination = TRY(TRY(entry.get("destination")).text());
        device.access = TRY(TRY(entry.get("access")).text());
        config.devices.push_back(std::move(device));
        return {};
    });
}

} // namespace

std::string to_json(const InstanceConfig& config)
{
    nlohmann::ordered_json document{{"name", config.name},          {"root", config.root},
                                    {"mode", to_word(config.mode)}, {"removeAtEnd", config.remove_at_end},
                                    {"command", config.command},    {"env", config.env},
                                    {"workdir", config.workdir},    {"user", config.user},
                                    {"hostname", config.hostname},  {"terminal", config.terminal},
                                    {"created", config.created},    {"started", config.started}};
    if (!config.snapshot.empty()) document["snapshot"] = config.snapshot;
    if (config.memory_bytes) document["memoryBytes"] = *config.memory_bytes;
    if (config.millicpus) document["millicpus"] = *config.millicpus;
    if (config.pids) document["pids"] = *config.pids;
    if (config.exit_status) document["exitStatus"] = *config.exit_status;
    if (!config.end_note.empty()) document["endNote"] = config.end_note;
    document["volumes"] = nlohmann::ordered_json::array();
    for (const Volume& volume : config.volumes)
        document["volumes"].push_back(
            {{"source", volume.source}, {"destination", volume.destination}, {"readOnly", volume.read_only}});
    add_options(document, config);
    return document.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

Result<InstanceConfig> parse_instance_config(std::string_view text)
{
    const auto document = TRY(parse_json(text));
    const JsonNode node{document};
    InstanceConfig config;
    config.name = TRY(TRY(node.get("name")).text());
    TRY(check_name(config.name));
    config.root = TRY(TRY(node.get("root")).text());
    config.snapshot = TRY(node.text_or("snapshot", ""));
    config.mode = TRY(parse_mode(TRY(TRY(node.get("mode")).text())));
    config.remove_at_end = TRY(node.boolean_or("removeAtEnd", false));
    config.command = TRY(node.texts_or_none("command"));
    config.env = TRY(node.texts_or_none("env"));
    config.workdir = TRY(node.text_or("workdir", ""));
    config.user = TRY(node.text_or("user", ""));
    config.hostname = TRY(node.text_or("hostname", ""));
    config.terminal = TRY(node.boolean_or("terminal", false));
    config.created = TRY(node.text_or("created", ""));
    config.started = TRY(node.text_or("started", ""));
    if (const auto bytes = TRY(node.find_integer("memoryBytes", kLeastMemoryBytes)))
        config.memory_bytes = static_cast<std::uint64_t>(*bytes);
    if (const auto cpus = TRY(node.find_integer("millicpus", kLeastMillicpus)))
        config.millicpus = static_cast<std::uint64_t>(*cpus);
    config.pids = TRY(node.find_integer("pids", -1));
    if (config.pids == 0) return fail(TRY(node.get("pids")).complain("0 processes cannot run anything"));
    if (const auto status = TRY(node.find_integer("exitStatus", 0, 255)))
        config.exit_status = static_cast<int>(*status);
    config.end_note = TRY(node.text_or("endNote", ""));
    TRY(node.each("volumes", [&config](const JsonNode& entry) -> Result<> {
        Volume volume;
        volume.source = TRY(TRY(entry.get("source")).text());
        volume.destination = TRY(TRY(entry.get("destination")).text());
        volume.read_only = TRY(entry.boolean_or("readOnly", false));
        config.volumes.push_back(std::move(volume));
        return {};
    }));
    TRY(read_options(node, config));
    TRY(read_life(node, config));
    if (config.swap_bytes && !config.memory_bytes)
        return fail(TRY(node.get("swapBytes")).complain("is beyond memoryBytes, which is missing"));
    return config;
}

namespace {

/// Docker's member Healthcheck: times in nanoseconds, 0 for the default.
Result<std::optional<HealthCheck>> health_of(const JsonNode& image)
{
    const auto node = TRY(image.find("Healthcheck"));
    if (!node) return std::optional<HealthCheck>{};
    HealthCheck check;
    check.command = TRY(node->texts_or_none("Test"));
    if (check.command.empty() || check.command.front() == "NONE") return std::optional<HealthCheck>{};
    if (check.command.front() == "CMD-SHELL")
        check.command.insert(check.command.begin() + 1, {"/bin/sh", "-c"});
    else if (check.command.front() != "CMD")
        return fail(node->complain("Test must begin with CMD, CMD-SHELL or NONE"));
    check.command.erase(check.command.begin());
    for (const auto& [key, value] : {std::pair{"Interval", &check.interval_ms},
                                     {"Timeout", &check.timeout_ms},
                                     {"StartPeriod", &check.start_period_ms}})
        if (const auto nanoseconds = TRY(node->find_integer(key, 0)); nanoseconds && *nanoseconds > 0)
            *value = std::max<std::int64_t>(*nanoseconds / 1'000'000, 1);
    if (const auto retries = TRY(node->find_integer("Retries", 0, INT_MAX)); retries && *retries > 0)
        check.retries = static_cast<int>(*retries);
    return std::optional{std::move(check)};
}

/// What an image runs, and as whom.
Result<> take_program(InstanceConfig& config, const JsonNode& part)
{
    auto command = TRY(part.texts_or_none("Entrypoint"));
    const auto rest = config.command.empty() ? TRY(part.texts_or_none("Cmd")) : config.command;
    command.insert(command.end(), rest.begin(), rest.end());
    config.command = std::move(command);
    if (config.user.empty()) config.user = TRY(part.text_or("User", ""));
    return {};
}

} // namespace

std::string host_name_of(const InstanceConfig& config)
{
    constexpr std::size_t kMostBytes = 64; // the kernel's limit
    return (config.hostname.empty() ? config.name : config.hostname).substr(0, kMostBytes);
}

void forget_runs(InstanceConfig& config)
{
    const InstanceConfig fresh;
    config.created = fresh.created;
    config.awaits_start = fresh.awaits_start;
    config.started = fresh.started;
    config.finished = fresh.finished;
    config.exit_status = fresh.exit_status;
    config.end_note = fresh.end_note;
    config.restarts = fresh.restarts;
    config.stop_asked = fresh.stop_asked;
    config.undecided = fresh.undecided;
}

Result<> apply_image_config(InstanceConfig& config, std::string_view image)
{
    const auto document = image.empty() ? nlohmann::json::object() : TRY(parse_json(image));
    const auto part = TRY(JsonNode{document}.find("config"));
    if (part) {
        if (!config.boot) TRY(take_program(config, *part));
        auto env = TRY(part->texts_or_none("Env"));
        for (const std::string& entry : config.env)
            set_variable(env, entry);
        config.env = std::move(env);
        if (config.workdir.empty()) config.workdir = TRY(part->text_or("WorkingDir", ""));
        if (config.stop_signal.empty()) config.stop_signal = TRY(part->text_or("StopSignal", ""));
        if (!config.health) config.health = TRY(health_of(*part));
        if (!config.stop_signal.empty()) TRY_DOING("stop signal of the image", os::parse_signal(config.stop_signal));
    }
    if (config.health && config.health->command.empty()) config.health.reset(); // switched off
    if (config.boot) apply_boot_defaults(config);
    if (config.command.empty()) config.command = {"/bin/sh"};
    if (config.workdir.empty()) config.workdir = "/";
    return {};
}

Result<Volume> parse_volume(std::string_view text)
{
    const auto wrong = [&](std::string_view why) {
        return fail(ErrorKind::Invalid, cat("volume '", text, "': ", why, "; use SOURCE:DESTINATION[:ro]"));
    };
    const auto first = text.find(':');
    if (first == std::string_view::npos || first == 0) return wrong("no source and destination");
    const auto second = text.find(':', first + 1);
    Volume volume{.source = std::string{text.substr(0, first)},
                  .destination = std::string{text.substr(
                      first + 1, second == std::string_view::npos ? second : second - first - 1)},
                  .read_only = false};
    if (second != std::string_view::npos) {
        const auto option = text.substr(second + 1);
        if (option != "ro" && option != "rw") return wrong(cat("unknown option '", option, "'"));
        volume.read_only = option == "ro";
    }
    if (!volume.destination.starts_with('/') || volume.destination == "/")
        return wrong("the destination must be an absolute path below /");
    char* const resolved = ::realpath(volume.source.c_str(), nullptr);
    if (resolved == nullptr) return fail(Error::os(errno, cat("volume source ", volume.source)).hint("it must exist"));
    volume.source = resolved;
    std::free(resolved);
    return volume;
}

} // namespace coppice::instance
