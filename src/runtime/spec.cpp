#include "coppice/runtime/spec.h"

#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "spec_parts.h"

#include <array>
#include <nlohmann/json.hpp>
#include <sched.h>
#include <sys/resource.h>

namespace coppice::runtime {

namespace {

constexpr std::int64_t kMaxId = UINT32_MAX - 1; // the last one means "no id"

Result<std::uint32_t> parse_id(const JsonNode& node)
{
    const auto id = TRY(node.integer(0, kMaxId));
    return static_cast<std::uint32_t>(id);
}

Result<os::IdMap> parse_id_map(const JsonNode& parent, std::string_view key)
{
    os::IdMap map;
    TRY(parent.each(key, [&map](const JsonNode& node) -> Result<> {
        const auto inside = TRY(parse_id(TRY(node.get("containerID"))));
        const auto outside = TRY(parse_id(TRY(node.get("hostID"))));
        const auto size = TRY(parse_id(TRY(node.get("size"))));
        map.push_back({.inside = inside, .outside = outside, .size = size});
        return {};
    }));
    if (!map.empty()) TRY_DOING(cat(parent.path(), '.', key), os::check_id_map(map));
    return map;
}

Result<os::CapabilityMask> parse_capability_list(const JsonNode& parent, std::string_view key)
{
    os::CapabilityMask mask = 0;
    for (const std::string& name : TRY(parent.texts_or_none(key))) {
        const auto bit = os::find_capability(name);
        // Since 1.1 the specification wants a warning, and the container, without it.
        if ((bit & os::supported_capabilities()) == 0)
            log::warn("spec", cat(parent.path(), ": this kernel has no capability '", name, "'"));
        mask |= bit;
    }
    return mask & os::supported_capabilities();
}

Result<User> parse_user(const JsonNode& node)
{
    User user;
    if (const auto uid = TRY(node.find("uid"))) user.uid = TRY(parse_id(*uid));
    if (const auto gid = TRY(node.find("gid"))) user.gid = TRY(parse_id(*gid));
    if (const auto umask = TRY(node.find_integer("umask", 0, 0777))) user.umask = static_cast<mode_t>(*umask);
    user.lookup = TRY(node.text_or("username", ""));
    TRY(node.each("additionalGids", [&user](const JsonNode& gid) -> Result<> {
        user.additional_gids.push_back(TRY(parse_id(gid)));
        return {};
    }));
    return user;
}

struct HookPoint {
    const char* name;
    std::vector<Hook> Hooks::* list;
};
constexpr std::array<HookPoint, 6> kHookPoints{{{"prestart", &Hooks::prestart},
                                                {"createRuntime", &Hooks::create_runtime},
                                                {"createContainer", &Hooks::create_container},
                                                {"startContainer", &Hooks::start_container},
                                                {"poststart", &Hooks::poststart},
                                                {"poststop", &Hooks::poststop}}};

Result<std::vector<Hook>> parse_hook_list(const JsonNode& hooks, std::string_view key)
{
    std::vector<Hook> list;
    TRY(hooks.each(key, [&list](const JsonNode& node) -> Result<> {
        Hook hook;
        hook.path = TRY(TRY(node.get("path")).text());
        if (!hook.path.starts_with('/')) return fail(node.complain("the path of a hook must be absolute"));
        hook.args = TRY(node.texts_or_none("args"));
        hook.env = TRY(node.texts_or_none("env"));
        if (const auto timeout = TRY(node.find_integer("timeout", 1, INT32_MAX / 1000)))
            hook.timeout_seconds = static_cast<int>(*timeout);
        list.push_back(std::move(hook));
        return {};
    }));
    return list;
}

Result<MountSpec> parse_mount(const JsonNode& node)
{
    MountSpec mount;
    mount.destination = TRY(TRY(node.get("destination")).text());
    mount.type = TRY(node.text_or("type", ""));
    mount.source = TRY(node.text_or("source", ""));
    mount.options = TRY(node.texts_or_none("options"));
    os::UserMapping mapping;
    mapping.uids = TRY(parse_id_map(node, "uidMappings"));
    mapping.gids = TRY(parse_id_map(node, "gidMappings"));
    if (mapping.uids.empty() != mapping.gids.empty())
        return fail(node.complain("uidMappings and gidMappings must be given together"));
    if (!mapping.uids.empty()) mount.mapping = std::move(mapping);
    if (mount.destination.empty()) return fail(node.complain("the destination is empty"));
    return mount;
}

} // namespace

Result<std::map<std::string, std::string>> parse_text_map(const JsonNode& node, std::string_view key)
{
    std::map<std::string, std::string> map;
    TRY(node.each_member(key, [&map](const std::string& name, const JsonNode& value) -> Result<> {
        map[name] = TRY(value.text());
        return {};
    }));
    return map;
}

Result<os::UserMapping> parse_mapping(const JsonNode& node)
{
    os::UserMapping mapping;
    mapping.uids = TRY(parse_id_map(node, "uidMappings"));
    mapping.gids = TRY(parse_id_map(node, "gidMappings"));
    return mapping;
}

const NamespaceSpec* LinuxSpec::find_namespace(std::uint64_t flag) const
{
    for (const NamespaceSpec& ns : namespaces)
        if (ns.flag == flag) return &ns;
    return nullptr;
}

bool LinuxSpec::has_new_namespace(std::uint64_t flag) const
{
    const NamespaceSpec* const found = find_namespace(flag);
    return found != nullptr && found->path.empty();
}

std::optional<int> find_rlimit(std::string_view name)
{
    static const std::map<std::string, int, std::less<>> kResources{{"RLIMIT_AS", RLIMIT_AS},
                                                                    {"RLIMIT_CORE", RLIMIT_CORE},
                                                                    {"RLIMIT_CPU", RLIMIT_CPU},
                                                                    {"RLIMIT_DATA", RLIMIT_DATA},
                                                                    {"RLIMIT_FSIZE", RLIMIT_FSIZE},
                                                                    {"RLIMIT_LOCKS", RLIMIT_LOCKS},
                                                                    {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
                                                                    {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
                                                                    {"RLIMIT_NICE", RLIMIT_NICE},
                                                                    {"RLIMIT_NOFILE", RLIMIT_NOFILE},
                                                                    {"RLIMIT_NPROC", RLIMIT_NPROC},
                                                                    {"RLIMIT_RSS", RLIMIT_RSS},
                                                                    {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
                                                                    {"RLIMIT_RTTIME", RLIMIT_RTTIME},
                                                                    {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
                                                                    {"RLIMIT_STACK", RLIMIT_STACK}};
    const auto found = kResources.find(name);
    return found == kResources.end() ? std::nullopt : std::optional{found->second};
}

std::vector<std::string> known_hooks()
{
    std::vector<std::string> names;
    names.reserve(kHookPoints.size());
    for (const HookPoint& point : kHookPoints)
        names.emplace_back(point.name);
    return names;
}

bool LinuxSpec::has_user_namespace() const { return find_namespace(CLONE_NEWUSER) != nullptr; }

bool LinuxSpec::has_own_mounts() const { return has_new_namespace(CLONE_NEWNS); }

namespace {

Result<ProcessSpec> parse_process_node(const JsonNode& node)
{
    ProcessSpec process;
    process.terminal = TRY(node.boolean_or("terminal", false));
    if (const auto size = TRY(node.find("consoleSize"))) {
        const auto height = TRY(size->find_integer("height", 0, UINT16_MAX));
        const auto width = TRY(size->find_integer("width", 0, UINT16_MAX));
        process.console_size = {static_cast<unsigned short>(height.value_or(0)),
                                static_cast<unsigned short>(width.value_or(0))};
    }
    process.args = TRY(node.texts_or_none("args"));
    if (process.args.empty() || process.args.front().empty()) return fail(node.complain("args must name a command"));
    process.env = TRY(node.texts_or_none("env"));
    process.cwd = TRY(TRY(node.get("cwd")).text());
    if (!process.cwd.starts_with('/')) return fail(node.complain("cwd must be an absolute path"));
    if (const auto user = TRY(node.find("user"))) process.user = TRY(parse_user(*user));
    if (const auto capabilities = TRY(node.find("capabilities"))) {
        process.capabilities.bounding = TRY(parse_capability_list(*capabilities, "bounding"));
        process.capabilities.effective = TRY(parse_capability_list(*capabilities, "effective"));
        process.capabilities.permitted = TRY(parse_capability_list(*capabilities, "permitted"));
        process.capabilities.inheritable = TRY(parse_capability_list(*capabilities, "inheritable"));
        process.capabilities.ambient = TRY(parse_capability_list(*capabilities, "ambient"));
    }
    TRY(node.each("rlimits", [&process](const JsonNode& limit) -> Result<> {
        const auto type = TRY(limit.get("type"));
        Rlimit rlimit;
        rlimit.name = TRY(type.text());
        const auto number = find_rlimit(rlimit.name);
        if (!number) return fail(type.complain(cat("unknown resource '", rlimit.name, "'")));
        rlimit.resource = *number;
        rlimit.soft = TRY(TRY(limit.get("soft")).unsigned_integer());
        rlimit.hard = TRY(TRY(limit.get("hard")).unsigned_integer());
        if (rlimit.soft > rlimit.hard) return fail(limit.complain("soft is above hard"));
        for (const Rlimit& other : process.rlimits)
            if (other.resource == rlimit.resource) return fail(limit.complain("given twice"));
        process.rlimits.push_back(std::move(rlimit));
        return {};
    }));
    process.no_new_privileges = TRY(node.boolean_or("noNewPrivileges", false));
    if (const auto score = TRY(node.find_integer("oomScoreAdj", -1000, 1000)))
        process.oom_score_adj = static_cast<int>(*score);
    TRY(parse_scheduling(node, process));
    process.apparmor_profile = TRY(node.text_or("apparmorProfile", ""));
    process.selinux_label = TRY(node.text_or("selinuxLabel", ""));
    return process;
}

} // namespace

Result<ProcessSpec> parse_process(std::string_view text)
{
    const auto document = TRY(parse_json(text));
    return parse_process_node(JsonNode{document, "process"});
}

Result<Spec> parse_spec(std::string_view text)
{
    const auto document = TRY(parse_json(text));
    const JsonNode node{document};
    Spec spec;
    spec.version = TRY(TRY(node.get("ociVersion")).text());
    if (!spec.version.starts_with("1."))
        return fail(ErrorKind::Unsupported, cat("ociVersion ", spec.version, " is not 1.x"));
    const auto root = TRY(node.get("root"));
    spec.root_path = TRY(TRY(root.get("path")).text());
    if (spec.root_path.empty()) return fail(root.complain("the path is empty"));
    spec.root_readonly = TRY(root.boolean_or("readonly", false));
    if (const auto process = TRY(node.find("process"))) spec.process = TRY(parse_process_node(*process));
    spec.hostname = TRY(node.text_or("hostname", ""));
    spec.domainname = TRY(node.text_or("domainname", ""));
    TRY(node.each("mounts", [&spec](const JsonNode& mount) -> Result<> {
        spec.mounts.push_back(TRY(parse_mount(mount)));
        return {};
    }));
    if (const auto hooks = TRY(node.find("hooks"))) {
        for (const HookPoint& point : kHookPoints)
            spec.hooks.*point.list = TRY(parse_hook_list(*hooks, point.name));
    }
    spec.annotations = TRY(parse_text_map(node, "annotations"));
    if (const auto linux_part = TRY(node.find("linux"))) spec.linux_part = TRY(parse_linux(*linux_part));

    const LinuxSpec& l = spec.linux_part;
    // The mounts belong to the user namespace that their namespace belongs to: from another nothing can be mounted.
    if (!l.has_own_mounts() && l.has_user_namespace())
        return fail(ErrorKind::Invalid,
                    "linux.namespaces: a container with a user namespace needs a new mount namespace, too");
    if (!(spec.hostname.empty() && spec.domainname.empty()) && l.find_namespace(CLONE_NEWUTS) == nullptr)
        return fail(ErrorKind::Invalid,
                    "hostname, domainname: need a uts namespace, or the host's own name would change");
    if (l.has_new_namespace(CLONE_NEWUSER) && (l.mapping.uids.empty() || l.mapping.gids.empty()))
        return fail(ErrorKind::Invalid, "linux: a new user namespace needs uidMappings and gidMappings");
    return spec;
}

} // namespace coppice::runtime
