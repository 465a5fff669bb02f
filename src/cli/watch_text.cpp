#include "watch_text.h"

#include "coppice/base/json_text.h"
#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "local_time.h"

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace coppice::cli {

namespace {

constexpr const char* kUncounted = "-";

std::string percent_text(const std::optional<double>& percent)
{
    if (!percent) return kUncounted;
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.1f", *percent);
    return text.data();
}

std::string count_text(const std::optional<std::uint64_t>& count) { return count ? cat(*count) : kUncounted; }

std::string size_text(const std::optional<std::uint64_t>& bytes, Table::Form form)
{
    return bytes && form == Table::Form::Text ? format_bytes(*bytes) : count_text(bytes);
}

} // namespace

std::string samples_text(const std::vector<Sample>& samples, Table::Form form)
{
    if (form == Table::Form::Json) return json_text(samples_json(samples), 2) + '\n';
    Table table{{"name", "cpu %", "memory", "limit", "memory %", "swap", "processes", "most", "read", "written"}};
    for (const auto& [name, usage, cpu_percent] : samples)
        table.add({name, percent_text(cpu_percent), size_text(usage.memory, form), size_text(usage.memory_limit, form),
                   percent_text(memory_percent(usage)), size_text(usage.swap, form), count_text(usage.processes),
                   count_text(usage.process_limit), size_text(usage.read_bytes, form),
                   size_text(usage.written_bytes, form)});
    return table.print(form);
}

nlohmann::json samples_json(const std::vector<Sample>& samples)
{
    auto list = nlohmann::json::array();
    for (const Sample& sample : samples) {
        auto object = to_json(sample.usage);
        object["name"] = sample.name;
        object["cpuPercent"] = sample.cpu_percent ? nlohmann::json(*sample.cpu_percent) : nlohmann::json{};
        list.push_back(std::move(object));
    }
    return list;
}

std::string processes_text(const std::vector<instance::ProcessInfo>& processes, Table::Form form)
{
    if (form == Table::Form::Json) {
        auto list = nlohmann::json::array();
        for (const auto& process : processes)
            list.push_back(to_json(process));
        return json_text(list, 2) + '\n';
    }
    Table table{{"pid", "host pid", "user", "cpu %", "memory", "state", "started", "command"}};
    for (const auto& process : processes)
        table.add({cat(process.pid), cat(process.host_pid), process.user ? cat(*process.user) : kUncounted,
                   percent_text(process.cpu_percent), size_text(process.memory, form), std::string{process.state},
                   form == Table::Form::Text ? local_time(process.started) : process.started,
                   printable(process.command)});
    return table.print(form);
}

} // namespace coppice::cli
