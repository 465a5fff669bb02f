#include "coppice/base/text.h"
#include "spec_parts.h"

// linux.resources. Source: runtime-spec config-linux.md, "Control groups"
namespace coppice::runtime {

namespace {

/// A number where 0 means "not set", as Docker writes it.
Result<std::optional<std::int64_t>> limit_of(const JsonNode& node, std::string_view key, std::int64_t least)
{
    auto value = TRY(node.find_integer(key, least));
    if (value && *value == 0) value.reset();
    return value;
}

/// The same for what cannot be negative.
Result<std::optional<std::uint64_t>> amount_of(const JsonNode& node, std::string_view key,
                                               std::uint64_t most = INT64_MAX)
{
    const auto member = TRY(node.find(key));
    if (!member) return std::optional<std::uint64_t>{};
    const auto value = TRY(member->unsigned_integer(most));
    return value == 0 ? std::optional<std::uint64_t>{} : std::optional{value};
}

Result<std::optional<std::string>> list_of(const JsonNode& node, std::string_view key)
{
    auto text = TRY(node.text_or(key, ""));
    if (text.empty()) return std::optional<std::string>{};
    if (text.find_first_not_of("0123456789-,") != std::string::npos)
        return fail(node.complain(cat(key, " must be a list such as 0-2,5")));
    return std::optional{std::move(text)};
}

Result<> parse_memory(const JsonNode& node, os::CgroupLimits& limits)
{
    limits.memory_bytes = TRY(limit_of(node, "limit", -1));
    limits.memory_swap_bytes = TRY(limit_of(node, "swap", -1));
    limits.memory_low_bytes = TRY(limit_of(node, "reservation", -1));
    if (const auto swappiness = TRY(node.find_integer("swappiness", 0, 100)))
        limits.memory_swappiness = static_cast<std::uint64_t>(*swappiness);
    limits.oom_killer_off = TRY(node.boolean_or("disableOOMKiller", false));
    limits.memory_hierarchy = TRY(node.boolean_or("useHierarchy", false));
    limits.check_memory_use = TRY(node.boolean_or("checkBeforeUpdate", false));
    return {}; // `kernel` and `kernelTCP` are to be ignored: the specification says so
}

Result<> parse_cpu(const JsonNode& node, os::CgroupLimits& limits)
{
    limits.cpu_shares = TRY(amount_of(node, "shares"));
    limits.cpu_quota_us = TRY(limit_of(node, "quota", -1));
    limits.cpu_period_us = TRY(amount_of(node, "period"));
    limits.cpu_rt_runtime_us = TRY(limit_of(node, "realtimeRuntime", -1));
    limits.cpu_rt_period_us = TRY(amount_of(node, "realtimePeriod"));
    limits.cpuset_cpus = TRY(list_of(node, "cpus"));
    limits.cpuset_mems = TRY(list_of(node, "mems"));
    // Zero is a value here: an update switches them off by it.
    if (const auto burst = TRY(node.find_integer("burst", 0))) limits.cpu_burst_us = static_cast<std::uint64_t>(*burst);
    limits.cpu_idle = TRY(node.find_integer("idle", 0, 1));
    return {};
}

Result<std::optional<std::uint64_t>> weight_of(const JsonNode& node, std::string_view key)
{
    const auto weight = TRY(amount_of(node, key));
    if (weight && (*weight < 10 || *weight > 1000)) return fail(node.complain(cat(key, " must be from 10 to 1000")));
    return weight;
}

Result<os::DeviceNumber> parse_device_number(const JsonNode& node)
{
    os::DeviceNumber device;
    device.major = static_cast<std::uint64_t>(TRY(TRY(node.get("major")).integer(0, UINT32_MAX)));
    device.minor = static_cast<std::uint64_t>(TRY(TRY(node.get("minor")).integer(0, UINT32_MAX)));
    return device;
}

Result<> parse_block_io(const JsonNode& node, os::IoLimits& io)
{
    io.weight = TRY(weight_of(node, "weight"));
    io.leaf_weight = TRY(weight_of(node, "leafWeight"));
    TRY(node.each("weightDevice", [&io](const JsonNode& entry) -> Result<> {
        auto device = TRY(parse_device_number(entry));
        if (const auto weight = TRY(weight_of(entry, "weight"))) {
            device.value = *weight;
            io.device_weights.push_back(device);
        }
        if (const auto weight = TRY(weight_of(entry, "leafWeight"))) {
            device.value = *weight;
            io.device_leaf_weights.push_back(device);
        }
        return {};
    }));
    const auto throttle = [&node](std::string_view key, std::vector<os::DeviceNumber>& into) {
        return node.each(key, [&into](const JsonNode& entry) -> Result<> {
            auto device = TRY(parse_device_number(entry));
            device.value = TRY(TRY(entry.get("rate")).unsigned_integer());
            into.push_back(device);
            return {};
        });
    };
    TRY(throttle("throttleReadBpsDevice", io.read_bps));
    TRY(throttle("throttleWriteBpsDevice", io.write_bps));
    TRY(throttle("throttleReadIOPSDevice", io.read_iops));
    return throttle("throttleWriteIOPSDevice", io.write_iops);
}

/// What becomes part of a control file's name or of a line in it must be one plain word.
bool is_word(const std::string& text)
{
    return !text.empty() && text.find_first_of("/| \t\n=") == std::string::npos && text != "." && text != "..";
}

Result<> parse_huge_pages(const JsonNode& node, os::CgroupLimits& limits)
{
    return node.each("hugepageLimits", [&limits](const JsonNode& entry) -> Result<> {
        const auto size = TRY(TRY(entry.get("pageSize")).text());
        const auto digits = size.find_first_not_of("0123456789");
        const auto unit = digits == std::string::npos ? std::string{} : size.substr(digits);
        if (digits == 0 || (unit != "KB" && unit != "MB" && unit != "GB"))
            return fail(entry.complain("pageSize must be a size such as 2MB"));
        limits.huge_pages[size] = TRY(TRY(entry.get("limit")).unsigned_integer());
        return {};
    });
}

Result<> parse_network(const JsonNode& node, os::CgroupLimits& limits)
{
    if (const auto id = TRY(amount_of(node, "classID", UINT32_MAX)))
        limits.net_class_id = static_cast<std::uint32_t>(*id);
    return node.each("priorities", [&limits](const JsonNode& entry) -> Result<> {
        const auto name = TRY(TRY(entry.get("name")).text());
        if (!is_word(name)) return fail(entry.complain("name must be that of an interface"));
        const auto priority = TRY(TRY(entry.get("priority")).unsigned_integer(UINT32_MAX));
        limits.net_priorities[name] = static_cast<std::uint32_t>(priority);
        return {};
    });
}

Result<> parse_rdma(const JsonNode& node, os::CgroupLimits& limits)
{
    return node.each_member("rdma", [&limits](const std::string& device, const JsonNode& entry) -> Result<> {
        if (!is_word(device)) return fail(entry.complain("the name must be that of a device"));
        os::RdmaLimit limit;
        if (const auto handles = TRY(entry.find_integer("hcaHandles", 0, UINT32_MAX)))
            limit.handles = static_cast<std::uint32_t>(*handles);
        if (const auto objects = TRY(entry.find_integer("hcaObjects", 0, UINT32_MAX)))
            limit.objects = static_cast<std::uint32_t>(*objects);
        if (limit.handles || limit.objects) limits.rdma[device] = limit;
        return {};
    });
}

} // namespace

Result<os::DeviceRule> parse_device_rule(const JsonNode& node)
{
    os::DeviceRule rule;
    rule.allow = TRY(TRY(node.get("allow")).boolean());
    const auto type = TRY(node.text_or("type", "a"));
    if (type != "a" && type != "b" && type != "c") return fail(node.complain("type must be a, b or c"));
    rule.type = type.front();
    const auto number = [&node](std::string_view key) -> Result<std::optional<std::uint32_t>> {
        const auto value = TRY(node.find_integer(key, -1, UINT32_MAX)); // -1: any
        if (!value || *value < 0) return std::optional<std::uint32_t>{};
        return std::optional{static_cast<std::uint32_t>(*value)};
    };
    rule.major = TRY(number("major"));
    rule.minor = TRY(number("minor"));
    rule.access = TRY(node.text_or("access", "rwm"));
    if (rule.access.empty() || rule.access.find_first_not_of("rwm") != std::string::npos)
        return fail(node.complain("access must be made of r, w and m"));
    return rule;
}

Result<os::CgroupLimits> parse_limits(const JsonNode& node)
{
    os::CgroupLimits limits;
    if (const auto memory = TRY(node.find("memory"))) TRY(parse_memory(*memory, limits));
    if (const auto cpu = TRY(node.find("cpu"))) TRY(parse_cpu(*cpu, limits));
    if (const auto pids = TRY(node.find("pids"))) limits.pids = TRY(limit_of(*pids, "limit", -1));
    if (const auto io = TRY(node.find("blockIO"))) TRY(parse_block_io(*io, limits.io));
    TRY(parse_huge_pages(node, limits));
    if (const auto network = TRY(node.find("network"))) TRY(parse_network(*network, limits));
    TRY(parse_rdma(node, limits));
    limits.unified = TRY(parse_text_map(node, "unified"));
    return limits;
}

} // namespace coppice::runtime
