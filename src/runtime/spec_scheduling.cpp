#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "spec_parts.h"

#include <climits>
#include <linux/ioprio.h>
#include <linux/sched.h>
#include <sched.h>

namespace coppice::runtime {

namespace {

template <typename Value> using Words = std::map<std::string, Value, std::less<>>;

template <typename Value>
Result<Value> look_up(const Words<Value>& words, const JsonNode& node, const std::string& word)
{
    const auto found = words.find(word);
    if (found == words.end()) return fail(node.complain(cat("unknown word '", word, "'")));
    return found->second;
}

Result<Scheduler> parse_scheduler(const JsonNode& node)
{
    static const Words<std::uint32_t> kPolicies{
        {"SCHED_OTHER", SCHED_OTHER},      {"SCHED_FIFO", SCHED_FIFO}, {"SCHED_RR", SCHED_RR},
        {"SCHED_BATCH", SCHED_BATCH},      {"SCHED_ISO", 4U},          {"SCHED_IDLE", SCHED_IDLE},
        {"SCHED_DEADLINE", SCHED_DEADLINE}};
    static const Words<std::uint64_t> kFlags{{"SCHED_FLAG_RESET_ON_FORK", SCHED_FLAG_RESET_ON_FORK},
                                             {"SCHED_FLAG_RECLAIM", SCHED_FLAG_RECLAIM},
                                             {"SCHED_FLAG_DL_OVERRUN", SCHED_FLAG_DL_OVERRUN},
                                             {"SCHED_FLAG_KEEP_POLICY", SCHED_FLAG_KEEP_POLICY},
                                             {"SCHED_FLAG_KEEP_PARAMS", SCHED_FLAG_KEEP_PARAMS},
                                             {"SCHED_FLAG_UTIL_CLAMP_MIN", SCHED_FLAG_UTIL_CLAMP_MIN},
                                             {"SCHED_FLAG_UTIL_CLAMP_MAX", SCHED_FLAG_UTIL_CLAMP_MAX}};
    Scheduler scheduler;
    const auto policy = TRY(TRY(node.get("policy")).text());
    scheduler.policy = TRY(look_up(kPolicies, node, policy));
    for (const std::string& flag : TRY(node.texts_or_none("flags")))
        scheduler.flags |= TRY(look_up(kFlags, node, flag));
    scheduler.nice = static_cast<std::int32_t>(TRY(node.find_integer("nice", -20, 19)).value_or(0));
    scheduler.priority = static_cast<std::uint32_t>(TRY(node.find_integer("priority", 0, 99)).value_or(0));
    const auto nanoseconds = [&node](std::string_view key) -> Result<std::uint64_t> {
        return static_cast<std::uint64_t>(TRY(node.find_integer(key, 0)).value_or(0));
    };
    scheduler.runtime = TRY(nanoseconds("runtime"));
    scheduler.deadline = TRY(nanoseconds("deadline"));
    scheduler.period = TRY(nanoseconds("period"));
    const bool real_time = scheduler.policy == SCHED_FIFO || scheduler.policy == SCHED_RR;
    if (scheduler.priority != 0 && !real_time)
        return fail(node.complain("a priority goes with SCHED_FIFO and SCHED_RR only"));
    const bool has_times = scheduler.runtime != 0 || scheduler.deadline != 0 || scheduler.period != 0;
    if (has_times && scheduler.policy != SCHED_DEADLINE)
        return fail(node.complain("runtime, deadline and period go with SCHED_DEADLINE only"));
    return scheduler;
}

Result<int> parse_io_priority(const JsonNode& node)
{
    static const Words<int> kClasses{{"IOPRIO_CLASS_RT", IOPRIO_CLASS_RT},
                                     {"IOPRIO_CLASS_BE", IOPRIO_CLASS_BE},
                                     {"IOPRIO_CLASS_IDLE", IOPRIO_CLASS_IDLE}};
    const auto word = TRY(TRY(node.get("class")).text());
    const int io_class = TRY(look_up(kClasses, node, word));
    const auto level = TRY(node.find_integer("priority", 0, IOPRIO_NR_LEVELS - 1));
    return io_class << IOPRIO_CLASS_SHIFT | static_cast<int>(level.value_or(0));
}

constexpr std::int64_t kMostCpus = 64L * 1024;

/// "0-3,7" to a mask.
Result<CpuMask> parse_cpus(const JsonNode& parent, std::string_view key)
{
    constexpr std::size_t kBits = sizeof(unsigned long) * CHAR_BIT;
    CpuMask mask;
    const auto list = TRY(parent.text_or(key, ""));
    std::string_view rest{list};
    while (!rest.empty()) {
        const auto range = next_part(rest, ',');
        const auto dash = range.find('-');
        const auto first = parse_integer(range.substr(0, dash), 0, kMostCpus);
        const auto last = dash == std::string_view::npos ? first : parse_integer(range.substr(dash + 1), 0, kMostCpus);
        if (!first || !last || *last < *first)
            return fail(parent.complain(cat(key, ": '", range, "' is no CPU and no range of CPUs")));
        mask.resize(std::max(mask.size(), static_cast<std::size_t>(*last) / kBits + 1));
        for (auto cpu = static_cast<std::size_t>(*first); cpu <= static_cast<std::size_t>(*last); ++cpu)
            mask[cpu / kBits] |= 1UL << cpu % kBits;
    }
    return mask;
}

} // namespace

Result<> parse_scheduling(const JsonNode& process, ProcessSpec& spec)
{
    if (const auto node = TRY(process.find("scheduler"))) spec.scheduler = TRY(parse_scheduler(*node));
    if (const auto node = TRY(process.find("ioPriority"))) spec.io_priority = TRY(parse_io_priority(*node));
    if (const auto node = TRY(process.find("execCPUAffinity"))) {
        spec.exec_affinity_initial = TRY(parse_cpus(*node, "initial"));
        spec.exec_affinity_final = TRY(parse_cpus(*node, "final"));
    }
    return {};
}

} // namespace coppice::runtime
