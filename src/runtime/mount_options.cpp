#include "mount_options.h"

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

void apply(const Flag& flag, std::uint64_t& set, std::uint64_t& clear)
{
    set = (set & ~flag.clear) | flag.set;
    clear = (clear & ~flag.set) | flag.clear;
}

} // namespace

MountOptions parse_mount_options(const std::vector<std::string>& options, bool is_bind_type)
{
    MountOptions parsed;
    for (const std::string& option : options) {
        if (option == "bind") {
            parsed.bind = true;
        } else if (option == "rbind") {
            parsed.bind = parsed.recursive_bind = true;
        } else if (option == "tmpcopyup") {
            parsed.copy_up = true;
        } else if (option == "idmap") {
            parsed.id_map = true;
        } else if (option == "ridmap") {
            parsed.id_map = parsed.recursive_id_map = true;
        } else if (option == "defaults" || option == "async" || option == "nomand" || option == "noiversion" ||
                   option == "silent" || option == "loud" || option.empty()) {
            // the kernel's own default, or without meaning for what is mounted here
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

} // namespace coppice::runtime
