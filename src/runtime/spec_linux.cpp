#include "coppice/base/text.h"
#include "coppice/os/namespace.h"
#include "spec_parts.h"

#include <nlohmann/json.hpp>
#include <sys/personality.h>
#include <sys/stat.h>

namespace coppice::runtime {

namespace {

Result<NamespaceSpec> parse_namespace(const JsonNode& node)
{
    const auto type = TRY(TRY(node.get("type")).text());
    const os::NamespaceKind* const kind = os::find_namespace_kind(type);
    if (kind == nullptr) return fail(node.complain(cat("unknown namespace type '", type, "'")));
    NamespaceSpec ns{.flag = kind->flag, .path = TRY(node.text_or("path", ""))};
    if (!ns.path.empty() && !ns.path.starts_with('/')) return fail(node.complain("the path must be absolute"));
    return ns;
}

Result<DeviceSpec> parse_device(const JsonNode& node)
{
    DeviceSpec device;
    const auto type = TRY(TRY(node.get("type")).text());
    if (type != "c" && type != "b" && type != "u" && type != "p")
        return fail(node.complain("type must be c, b, u or p"));
    device.type = type == "u" ? 'c' : type.front();
    device.path = TRY(TRY(node.get("path")).text());
    if (!device.path.starts_with('/')) return fail(node.complain("the path must be absolute"));
    if (device.type != 'p') {
        const auto major = TRY(TRY(node.get("major")).integer(0, UINT32_MAX));
        const auto minor = TRY(TRY(node.get("minor")).integer(0, UINT32_MAX));
        device.major = static_cast<std::uint32_t>(major);
        device.minor = static_cast<std::uint32_t>(minor);
    }
    // Some clients give all of st_mode (podman 4.3), as other runtimes allow: the type is said by `type` alone.
    if (const auto mode = TRY(node.find_integer("fileMode", 0, S_IFMT | 07777)))
        device.mode = static_cast<mode_t>(*mode) & 07777U;
    if (const auto uid = TRY(node.find_integer("uid", 0, UINT32_MAX - 1))) device.uid = static_cast<uid_t>(*uid);
    if (const auto gid = TRY(node.find_integer("gid", 0, UINT32_MAX - 1))) device.gid = static_cast<gid_t>(*gid);
    return device;
}

/// True for values that ask for nothing: null, 0, "", {}, [], and objects made of such.
bool asks_for_nothing(const nlohmann::json& value)
{
    if (value.is_number()) return value == 0;
    if (value.is_boolean()) return !value.get<bool>();
    if (value.is_string()) return value.get_ref<const std::string&>().empty();
    for (const auto& element : value) // arrays and objects; depth is limited by parse_json
        if (!asks_for_nothing(element)) return false;
    return true;
}

Result<SeccompArg> parse_seccomp_arg(const JsonNode& node)
{
    SeccompArg arg;
    const auto index = TRY(TRY(node.get("index")).integer(0, 5));
    arg.index = static_cast<unsigned>(index);
    arg.value = TRY(TRY(node.get("value")).unsigned_integer());
    if (const auto two = TRY(node.find("valueTwo"))) arg.value_two = TRY(two->unsigned_integer());
    arg.op = TRY(TRY(node.get("op")).text());
    return arg;
}

Result<SeccompSpec> parse_seccomp(const JsonNode& node)
{
    SeccompSpec seccomp;
    seccomp.default_action = TRY(TRY(node.get("defaultAction")).text());
    if (const auto number = TRY(node.find_integer("defaultErrnoRet", 0, 4095)))
        seccomp.default_errno_ret = static_cast<unsigned>(*number);
    seccomp.architectures = TRY(node.texts_or_none("architectures"));
    seccomp.flags = TRY(node.texts_or_none("flags"));
    seccomp.listener_path = TRY(node.text_or("listenerPath", ""));
    if (!seccomp.listener_path.empty() && !seccomp.listener_path.starts_with('/'))
        return fail(node.complain("listenerPath must be absolute"));
    seccomp.listener_metadata = TRY(node.text_or("listenerMetadata", ""));
    TRY(node.each("syscalls", [&seccomp](const JsonNode& entry) -> Result<> {
        SeccompRule rule;
        rule.names = TRY(TRY(entry.get("names")).texts());
        rule.action = TRY(TRY(entry.get("action")).text());
        if (const auto number = TRY(entry.find_integer("errnoRet", 0, 4095)))
            rule.errno_ret = static_cast<unsigned>(*number);
        TRY(entry.each("args", [&rule](const JsonNode& arg) -> Result<> {
            rule.args.push_back(TRY(parse_seccomp_arg(arg)));
            return {};
        }));
        seccomp.rules.push_back(std::move(rule));
        return {};
    }));
    return seccomp;
}

Result<std::map<std::string, TimeOffset>> parse_time_offsets(const JsonNode& node)
{
    std::map<std::string, TimeOffset> offsets;
    TRY(node.each_member("timeOffsets", [&offsets](const std::string& clock, const JsonNode& value) -> Result<> {
        if (clock != "monotonic" && clock != "boottime") return fail(value.complain("unknown clock"));
        TimeOffset offset;
        offset.seconds = TRY(value.find_integer("secs")).value_or(0);
        offset.nanoseconds =
            static_cast<std::uint32_t>(TRY(value.find_integer("nanosecs", 0, 999'999'999)).value_or(0));
        offsets[clock] = offset;
        return {};
    }));
    return offsets;
}

Result<unsigned long> parse_personality(const JsonNode& node)
{
    static const std::map<std::string, unsigned long, std::less<>> kDomains{{"LINUX", PER_LINUX},
                                                                            {"LINUX32", PER_LINUX32}};
    const auto domain = TRY(node.text_or("domain", ""));
    const auto found = kDomains.find(domain);
    if (found == kDomains.end()) return fail(node.complain(cat("unknown domain '", domain, "'")));
    for (const std::string& flag : TRY(node.texts_or_none("flags"))) // the specification knows none yet
        return fail(ErrorKind::Unsupported, cat(node.path(), ".flags: '", flag, "' is not supported"));
    return found->second;
}

Result<IntelRdt> parse_intel_rdt(const JsonNode& node)
{
    IntelRdt rdt;
    rdt.group = TRY(node.text_or("closID", ""));
    if (rdt.group == "." || rdt.group == ".." || rdt.group.find('/') != std::string::npos)
        return fail(node.complain("closID must be the name of a directory"));
    for (const char* const key : {"l3CacheSchema", "memBwSchema"})
        if (auto lines = TRY(node.text_or(key, "")); !lines.empty()) rdt.schemata.push_back(std::move(lines));
    for (const char* const key : {"enableCMT", "enableMBM"})
        rdt.monitoring = TRY(node.boolean_or(key, false)) || rdt.monitoring;
    return rdt;
}

Result<> check_sysctl(const JsonNode& node, const std::map<std::string, std::string>& sysctl)
{
    for (const auto& [name, value] : sysctl)
        if (name.empty() || name.find("..") != std::string::npos || name.starts_with('/') || name.starts_with('.'))
            return fail(node.complain(cat("sysctl: '", name, "' is not a name")));
    return {};
}

} // namespace

Result<LinuxSpec> parse_linux(const JsonNode& node)
{
    LinuxSpec spec;
    TRY(node.each("namespaces", [&spec](const JsonNode& entry) -> Result<> {
        const auto ns = TRY(parse_namespace(entry));
        if (spec.find_namespace(ns.flag) != nullptr) return fail(entry.complain("this namespace type is given twice"));
        spec.namespaces.push_back(ns);
        return {};
    }));
    spec.mapping = TRY(parse_mapping(node));
    spec.time_offsets = TRY(parse_time_offsets(node));
    TRY(node.each("devices", [&spec](const JsonNode& device) -> Result<> {
        spec.devices.push_back(TRY(parse_device(device)));
        return {};
    }));
    spec.cgroups_path = TRY(node.text_or("cgroupsPath", ""));
    if (spec.cgroups_path.find("..") != std::string::npos) return fail(node.complain("cgroupsPath must not hold '..'"));
    if (const auto resources = TRY(node.find("resources"))) {
        spec.limits = TRY(parse_limits(*resources));
        // In a new cgroup these zeros change nothing.
        if (spec.limits.cpu_burst_us == 0U) spec.limits.cpu_burst_us.reset();
        if (spec.limits.cpu_idle == 0) spec.limits.cpu_idle.reset();
        TRY(resources->each("devices", [&spec](const JsonNode& rule) -> Result<> {
            spec.device_rules.push_back(TRY(parse_device_rule(rule)));
            return {};
        }));
    }
    spec.sysctl = TRY(parse_text_map(node, "sysctl"));
    TRY(check_sysctl(node, spec.sysctl));
    if (const auto seccomp = TRY(node.find("seccomp"))) spec.seccomp = TRY(parse_seccomp(*seccomp));
    spec.rootfs_propagation = TRY(node.text_or("rootfsPropagation", ""));
    spec.masked_paths = TRY(node.texts_or_none("maskedPaths"));
    spec.readonly_paths = TRY(node.texts_or_none("readonlyPaths"));
    spec.mount_label = TRY(node.text_or("mountLabel", ""));
    if (const auto personality = TRY(node.find("personality"))) spec.personality = TRY(parse_personality(*personality));
    if (const auto rdt = TRY(node.find("intelRdt"))) spec.intel_rdt = TRY(parse_intel_rdt(*rdt));
    for (const char* const key : {"netDevices", "memoryPolicy"})
        if (const auto other = TRY(node.find(key)); other && !asks_for_nothing(other->value()))
            return fail(ErrorKind::Unsupported, cat(other->path(), " is not supported"));
    return spec;
}

} // namespace coppice::runtime
