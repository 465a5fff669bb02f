#include "completion_names.h"

#include "coppice/base/text.h"
#include "daemon_link.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

namespace coppice::cli {

namespace {

using Names = std::vector<std::string>;

Names instance_names(std::string_view command, const GlobalOptions& global)
{
    Names names;
    const auto store = instance::InstanceStore::look(global.root);
    const auto all = store ? store->list() : Result<Names>{};
    constexpr std::array kOfRunning{"exec", "stop", "kill", "pause", "resume", "attach", "wait", "stats", "top"};
    const bool only_running = std::find(kOfRunning.begin(), kOfRunning.end(), command) != kOfRunning.end();
    for (const std::string& name : all ? *all : Names{})
        if (!only_running || store->is_running(name).value_or(false)) names.push_back(name);
    return names;
}

/// A list of the daemon's; empty when it does not run, or does not answer at once.
nlohmann::json list_of(const GlobalOptions& global, const char* target)
{
    constexpr std::chrono::milliseconds kPatience{1000};
    auto answer = running_daemon(global).call({.target = target, .timeout = kPatience});
    if (!answer || !answer->body.is_array()) return nlohmann::json::array();
    return std::move(answer->body);
}

/// One text member of each object in a list.
Names members(const nlohmann::json& list, const char* key)
{
    Names names;
    for (const auto& object : list) {
        if (!object.is_object()) continue;
        const auto found = object.find(key);
        if (found != object.end() && found->is_string()) names.push_back(found->get<std::string>());
    }
    return names;
}

void append(Names& names, Names more)
{
    names.insert(names.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

/// What leads to a snapshot and a person would type.
Names references(const GlobalOptions& global)
{
    Names names = vdisk_words("REF", list_of(global, "/v1/vdisks"));
    append(names, members(list_of(global, "/v1/branches"), "name"));
    return names;
}

Names places(const GlobalOptions& global)
{
    Names names = references(global);
    for (std::string& name : names)
        name += ":/";
    return names;
}

/// Names from a list that is an array member of `vdisk`.
template <typename Take> void each_part(const nlohmann::json& vdisk, const char* key, Take take)
{
    const auto found = vdisk.find(key);
    if (found == vdisk.end() || !found->is_array()) return;
    for (const auto& part : *found)
        if (part.is_object()) take(part);
}

} // namespace

Names vdisk_words(std::string_view type, const nlohmann::json& vdisks)
{
    const bool names_vdisks = type == "VDISK" || type == "VDISK[:NUMBER]" || type == "REF";
    const bool names_versions = type == "VDISK:NUMBER" || type == "VDISK[:NUMBER]" || type == "REF";
    Names words;
    for (const auto& vdisk : vdisks) {
        if (!vdisk.is_object() || !vdisk.contains("name") || !vdisk["name"].is_string()) continue;
        const auto& name = vdisk["name"].get_ref<const std::string&>();
        if (names_vdisks) words.push_back(name);
        each_part(vdisk, "versions", [&](const nlohmann::json& version) {
            const auto number = version.find("number");
            if (names_versions && number != version.end() && number->is_number_unsigned())
                words.push_back(cat(name, ':', number->get<std::uint64_t>()));
        });
        each_part(vdisk, "tags", [&](const nlohmann::json& tag) {
            const auto tag_name = tag.find("name");
            if (tag_name == tag.end() || !tag_name->is_string()) return;
            if (type == "TAG") words.push_back(tag_name->get<std::string>());
            if (type == "REF") words.push_back(cat(name, '@', tag_name->get_ref<const std::string&>()));
        });
    }
    return words;
}

Names known_names(std::string_view type, std::string_view command, const GlobalOptions& global)
{
    if (type == "NAME") return instance_names(command, global);
    if (type == "OPERATION") return members(list_of(global, "/v1/operations"), "id");
    if (type == "BRANCH") return members(list_of(global, "/v1/branches"), "name");
    if (type == "MOUNT") return members(list_of(global, "/v1/mounts"), "path");
    if (type == "REF") return references(global);
    if (type == "REF:/PATH") return places(global);
    if (type == "TAG" || type.starts_with("VDISK")) return vdisk_words(type, list_of(global, "/v1/vdisks"));
    return {};
}

} // namespace coppice::cli
