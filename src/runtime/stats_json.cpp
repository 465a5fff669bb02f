#include "stats_json.h"

#include <nlohmann/json.hpp>

namespace coppice::runtime {

using Json = nlohmann::ordered_json;

namespace {

/// Go's "omitempty": what is zero or empty is left out.
template <typename T> void put(Json& object, const char* name, const T& value)
{
    if (value != T{}) object[name] = value;
}

Json of_memory(const os::MemoryUse& use)
{
    Json json{{"limit", use.limit}};
    put(json, "usage", use.usage);
    put(json, "max", use.most);
    json["failcnt"] = use.failures;
    return json;
}

Json of_line(const os::Pressure::Line& line)
{
    return {{"avg10", line.avg10}, {"avg60", line.avg60}, {"avg300", line.avg300}, {"total", line.total_us}};
}

void put_pressure(Json& object, const std::optional<os::Pressure>& pressure)
{
    if (pressure) object["psi"] = {{"some", of_line(pressure->some)}, {"full", of_line(pressure->full)}};
}

Json of_cpu(const os::CgroupStats& stats)
{
    Json usage = Json::object();
    put(usage, "total", stats.cpu.total_ns);
    put(usage, "percpu", stats.cpu.per_cpu_ns);
    put(usage, "percpu_kernel", stats.cpu.per_cpu_kernel_ns);
    put(usage, "percpu_user", stats.cpu.per_cpu_user_ns);
    usage["kernel"] = stats.cpu.kernel_ns;
    usage["user"] = stats.cpu.user_ns;
    Json throttling = Json::object();
    put(throttling, "periods", stats.cpu.periods);
    put(throttling, "throttledPeriods", stats.cpu.throttled_periods);
    put(throttling, "throttledTime", stats.cpu.throttled_ns);
    Json cpu{{"usage", std::move(usage)}, {"throttling", std::move(throttling)}};
    put_pressure(cpu, stats.cpu.pressure);
    return cpu;
}

Json of_cpuset(const os::CgroupStats& stats)
{
    const auto flag = [&stats](const char* name) {
        const auto found = stats.cpuset.flags.find(name);
        return found == stats.cpuset.flags.end() ? 0 : found->second;
    };
    Json cpuset = Json::object();
    put(cpuset, "cpus", stats.cpuset.cpus);
    cpuset["cpu_exclusive"] = flag("cpu_exclusive");
    put(cpuset, "mems", stats.cpuset.memory_nodes);
    for (const char* const name :
         {"mem_hardwall", "mem_exclusive", "memory_migrate", "memory_spread_page", "memory_spread_slab",
          "memory_pressure", "sched_load_balance", "sched_relax_domain_level"})
        cpuset[name] = flag(name);
    return cpuset;
}

Json of_memory(const os::CgroupStats& stats)
{
    Json memory = Json::object();
    put(memory, "cache", stats.memory.cache);
    memory["usage"] = of_memory(stats.memory.memory);
    memory["swap"] = of_memory(stats.memory.swap);
    memory["kernel"] = of_memory(stats.memory.kernel);
    memory["kernelTCP"] = of_memory(stats.memory.kernel_tcp);
    put(memory, "raw", stats.memory.counts);
    put_pressure(memory, stats.memory.pressure);
    return memory;
}

Json of_io_counts(const std::vector<os::IoCount>& counts)
{
    Json list = Json::array();
    for (const os::IoCount& one : counts) {
        Json entry = Json::object();
        put(entry, "major", one.major);
        put(entry, "minor", one.minor);
        put(entry, "op", one.operation);
        put(entry, "value", one.value);
        list.push_back(std::move(entry));
    }
    return list;
}

Json of_io(const os::CgroupStats& stats)
{
    Json io = Json::object();
    if (!stats.io.bytes.empty()) io["ioServiceBytesRecursive"] = of_io_counts(stats.io.bytes);
    if (!stats.io.operations.empty()) io["ioServicedRecursive"] = of_io_counts(stats.io.operations);
    put_pressure(io, stats.io.pressure);
    return io;
}

Json of_huge_pages(const os::CgroupStats& stats)
{
    Json all = Json::object();
    for (const auto& [size, use] : stats.huge_pages) {
        Json one = Json::object();
        put(one, "usage", use.usage);
        put(one, "max", use.most);
        one["failcnt"] = use.failures;
        all[size] = std::move(one);
    }
    return all;
}

} // namespace

Json to_json(const os::CgroupStats& stats)
{
    Json pids = Json::object();
    put(pids, "current", stats.pids.current);
    put(pids, "limit", stats.pids.limit);
    return {{"cpu", of_cpu(stats)},        {"cpuset", of_cpuset(stats)},   {"memory", of_memory(stats)},
            {"pids", std::move(pids)},     {"blkio", of_io(stats)},        {"hugetlb", of_huge_pages(stats)},
            {"intel_rdt", Json::object()}, {"network_interfaces", nullptr}}; // networks are made by others: nobody here
                                                                             // knows which are its own
}

} // namespace coppice::runtime
