#include "coppice/instance/config.h"

#include "coppice/base/environment.h"
#include "coppice/base/id.h"
#include "coppice/base/json.h"
#include "coppice/base/text.h"

#include <climits>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace coppice::instance {

std::string_view to_word(Mode mode) { return mode == Mode::Private ? "private" : "shared"; }

Result<Mode> parse_mode(std::string_view word)
{
    if (word == "private") return Mode::Private;
    if (word == "shared") return Mode::Shared;
    return fail(ErrorKind::Invalid, cat("mode '", word, "' is unknown; use private or shared"));
}

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
    document["volumes"] = nlohmann::ordered_json::array();
    for (const Volume& volume : config.volumes)
        document["volumes"].push_back(
            {{"source", volume.source}, {"destination", volume.destination}, {"readOnly", volume.read_only}});
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
    if (const auto bytes = TRY(node.find_integer("memoryBytes", 1)))
        config.memory_bytes = static_cast<std::uint64_t>(*bytes);
    if (const auto cpus = TRY(node.find_integer("millicpus", 1))) config.millicpus = static_cast<std::uint64_t>(*cpus);
    config.pids = TRY(node.find_integer("pids", -1));
    if (const auto status = TRY(node.find_integer("exitStatus", 0, 255)))
        config.exit_status = static_cast<int>(*status);
    TRY(node.each("volumes", [&config](const JsonNode& entry) -> Result<> {
        Volume volume;
        volume.source = TRY(TRY(entry.get("source")).text());
        volume.destination = TRY(TRY(entry.get("destination")).text());
        volume.read_only = TRY(entry.boolean_or("readOnly", false));
        config.volumes.push_back(std::move(volume));
        return {};
    }));
    return config;
}

Result<> apply_image_config(InstanceConfig& config, std::string_view image)
{
    const auto document = image.empty() ? nlohmann::json::object() : TRY(parse_json(image));
    const auto part = TRY(JsonNode{document}.find("config"));
    if (part) {
        auto command = TRY(part->texts_or_none("Entrypoint"));
        const auto rest = config.command.empty() ? TRY(part->texts_or_none("Cmd")) : config.command;
        command.insert(command.end(), rest.begin(), rest.end());
        config.command = std::move(command);
        auto env = TRY(part->texts_or_none("Env"));
        for (const std::string& entry : config.env)
            set_variable(env, entry);
        config.env = std::move(env);
        if (config.workdir.empty()) config.workdir = TRY(part->text_or("WorkingDir", ""));
        if (config.user.empty()) config.user = TRY(part->text_or("User", ""));
    }
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
