#include "mount_options.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <sys/mount.h>

namespace coppice::runtime {

namespace {

using namespace os::mount_attr;

struct Flag {
    std::uint64_t set, clear;
};

// Time-stamp modes share one field, so setting one means clearing the field first. Source: mount_setattr(2)
const std::map<std::string_view, Flag>& attribute_flags()
{
    static const std::map<std::string_view, Flag> kFlags{
        {"ro", {kReadOnly, 0}},
        {"rw", {0, kReadOnly}},
        {"nosuid", {kNoSuid, 0}},
        {"suid", {0, kNoSuid}},
        {"nodev", {kNoDev, 0}},
        {"dev", {0, kNoDev}},
        {"noexec", {kNoExec, 0}},
        {"exec", {0, kNoExec}},
        {"noatime", {kNoAtime, kAtimeMask}},
        {"atime", {0, kAtimeMask}},
        {"relatime", {0, kAtimeMask}},
        {"norelatime", {0, kAtimeMask}},
        {"strictatime", {kStrictAtime, kAtimeMask}},
        {"nostrictatime", {0, kAtimeMask}},
        {"nodiratime", {kNoDirAtime, 0}},
        {"diratime", {0, kNoDirAtime}},
        {"nosymfollow", {kNoSymFollow, 0}},
        {"symfollow", {0, kNoSymFollow}},
    };
    return kFlags;
}

struct Propagation {
    std::uint64_t flag;
    bool recursive;
};

const std::map<std::string_view, Propagation>& propagation_flags()
{
    static const std::map<std::string_view, Propagation> kFlags{
        {"private", {MS_PRIVATE, false}},       {"rprivate", {MS_PRIVATE, true}},       {"slave", {MS_SLAVE, false}},
        {"rslave", {MS_SLAVE, true}},           {"shared", {MS_SHARED, false}},         {"rshared", {MS_SHARED, true}},
        {"unbindable", {MS_UNBINDABLE, false}}, {"runbindable", {MS_UNBINDABLE, true}},
    };
    return kFlags;
}

using Setter = void (*)(MountOptions&);

const std::map<std::string_view, Setter>& other_options()
{
    constexpr Setter kDefault = [](MountOptions&) {}; // what the kernel does anyway, or of no meaning here
    static const std::map<std::string_view, Setter> kSetters{
        {"bind", [](MountOptions& options) { options.bind = true; }},
        {"rbind", [](MountOptions& options) { options.bind = options.recursive_bind = true; }},
        {"idmap", [](MountOptions& options) { options.id_map = true; }},
        {"ridmap", [](MountOptions& options) { options.id_map = options.recursive_id_map = true; }},
        {"remount", [](MountOptions& options) { options.remount = true; }},
        {"tmpcopyup", [](MountOptions& options) { options.copy_up = true; }},
        // Properties of the file system, not of the mount; a bind mount has them from its source.
        {"dirsync", [](MountOptions& options) { options.parameters.emplace_back("dirsync", ""); }},
        {"lazytime", [](MountOptions& options) { options.parameters.emplace_back("lazytime", ""); }},
        {"mand", [](MountOptions& options) { options.parameters.emplace_back("mand", ""); }},
        {"sync", [](MountOptions& options) { options.parameters.emplace_back("sync", ""); }},
        {"async", kDefault},
        {"defaults", kDefault},
        {"iversion", kDefault}, // file systems that count versions do so always since Linux 6.0
        {"loud", kDefault},
        {"noiversion", kDefault},
        {"nolazytime", kDefault},
        {"nomand", kDefault},
        {"silent", kDefault},
    };
    return kSetters;
}

void apply(const Flag& flag, std::uint64_t& set, std::uint64_t& clear)
{
    set = (set & ~flag.clear) | flag.set;
    clear = (clear & ~flag.set) | flag.clear;
}

/// Notes of other programs in a list of options: never for the kernel. Source: mount(8)
bool is_note(std::string_view option) { return option.starts_with("x-") || option.starts_with("X-"); }

} // namespace

MountOptions parse_mount_options(const std::vector<std::string>& options, bool is_bind_type)
{
    MountOptions parsed;
    for (const std::string& option : options) {
        if (option.empty() || is_note(option)) continue;
        if (const auto other = other_options().find(option); other != other_options().end()) {
            other->second(parsed);
        } else if (const auto flag = attribute_flags().find(option); flag != attribute_flags().end()) {
            apply(flag->second, parsed.set, parsed.clear);
        } else if (const auto recursive = attribute_flags().find(std::string_view{option}.substr(1));
                   option.starts_with('r') && recursive != attribute_flags().end()) {
            apply(recursive->second, parsed.recursive_set, parsed.recursive_clear);
        } else if (const auto propagation = propagation_flags().find(option);
                   propagation != propagation_flags().end()) {
            parsed.propagation = propagation->second.flag;
            parsed.recursive_propagation = propagation->second.recursive;
        } else {
            const auto equals = option.find('=');
            if (equals == std::string::npos)
                parsed.parameters.emplace_back(option, "");
            else
                parsed.parameters.emplace_back(option.substr(0, equals), option.substr(equals + 1));
        }
    }
    if (is_bind_type && !parsed.bind) parsed.bind = parsed.recursive_bind = true;
    if (parsed.bind)
        parsed.parameters.clear(); // options of a file system mean nothing to a bind mount; mount(2) says so
    return parsed;
}

std::vector<std::string> known_mount_options()
{
    std::vector<std::string> names;
    for (const auto& [name, flag] : attribute_flags()) {
        names.emplace_back(name);
        names.push_back("r" + std::string{name});
    }
    for (const auto& [name, propagation] : propagation_flags())
        names.emplace_back(name);
    for (const auto& [name, setter] : other_options())
        names.emplace_back(name);
    std::sort(names.begin(), names.end());
    return names;
}

} // namespace coppice::runtime
