#include "coppice/os/systemd_scope.h"

#include "cgroup_files.h"
#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "coppice/os/file.h"
#include "coppice/os/user_namespace.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <limits>
#include <unistd.h>

namespace coppice::os {

namespace {

using dbus::Property;

constexpr std::string_view kSliceSuffix = ".slice";
constexpr std::uint64_t kNoLimit = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kDefaultPeriodUs = 100'000;

constexpr const char* kService = "org.freedesktop.systemd1";
constexpr const char* kPath = "/org/freedesktop/systemd1";
constexpr const char* kManager = "org.freedesktop.systemd1.Manager";

std::string_view trimmed(std::string_view text)
{
    constexpr std::string_view kBlank = " \t\n";
    const auto first = text.find_first_not_of(kBlank);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

std::uint64_t or_none(std::int64_t value) { return value < 0 ? kNoLimit : static_cast<std::uint64_t>(value); }

/// A number as the kernel's v2 files have it: "max" or decimal.
Result<std::uint64_t> number_or_max(std::string_view text)
{
    if (text == "max") return kNoLimit;
    return static_cast<std::uint64_t>(TRY(parse_integer(text, 0, INT64_MAX)));
}

/// "0-2,7" as a mask: bit n of byte n/8.
Result<std::vector<std::uint8_t>> to_mask(std::string_view list)
{
    constexpr std::int64_t kMost = 8191; // the kernel's largest CONFIG_NR_CPUS
    std::vector<std::uint8_t> mask;
    list = trimmed(list);
    while (!list.empty()) {
        auto range = trimmed(next_part(list, ','));
        if (range.empty()) continue; // the kernel takes "1,,2", too
        const bool single = range.find('-') == std::string_view::npos;
        const auto first = TRY_DOING("a list like 0-2,7", parse_integer(next_part(range, '-'), 0, kMost));
        const auto last = single ? first : TRY_DOING("a list like 0-2,7", parse_integer(range, first, kMost));
        if (mask.size() <= static_cast<std::size_t>(last) / 8) mask.resize(static_cast<std::size_t>(last) / 8 + 1);
        for (auto n = static_cast<std::size_t>(first); n <= static_cast<std::size_t>(last); ++n)
            mask[n / 8] = static_cast<std::uint8_t>(mask[n / 8] | (1U << (n % 8)));
    }
    return mask;
}

/// systemd counts in microseconds per second and makes a percentage of it: rounded up, so that it never takes away
/// what the cgroup's own file grants.
void add_quota(std::vector<Property>& properties, std::int64_t quota_us, std::uint64_t period_us)
{
    constexpr std::uint64_t kPercent = 10'000;
    properties.push_back({"CPUQuotaPeriodUSec", period_us});
    std::uint64_t per_second = kNoLimit;
    if (quota_us > 0) {
        const auto exact = static_cast<unsigned __int128>(quota_us) * 1'000'000 / std::max<std::uint64_t>(period_us, 1);
        per_second = static_cast<std::uint64_t>((exact + kPercent - 1) / kPercent) * kPercent;
    }
    properties.push_back({"CPUQuotaPerSecUSec", per_second});
}

struct UnifiedFile {
    std::string_view file;
    const char* property;
};

/// Files whose one number is a property.
constexpr std::array kNumberFiles{
    UnifiedFile{"cpu.weight", "CPUWeight"},          UnifiedFile{"io.weight", "IOWeight"},
    UnifiedFile{"memory.high", "MemoryHigh"},        UnifiedFile{"memory.low", "MemoryLow"},
    UnifiedFile{"memory.max", "MemoryMax"},          UnifiedFile{"memory.min", "MemoryMin"},
    UnifiedFile{"memory.swap.max", "MemorySwapMax"}, UnifiedFile{"pids.max", "TasksMax"},
};

Result<> add_unified(std::vector<Property>& properties, const std::string& file, std::string_view value)
{
    value = trimmed(value);
    const auto* const number =
        std::find_if(kNumberFiles.begin(), kNumberFiles.end(), [&](const auto& one) { return one.file == file; });
    if (number != kNumberFiles.end()) {
        if (file == "io.weight" && value.starts_with("default ")) value = trimmed(value.substr(8));
        if (value.find(' ') != std::string_view::npos) return {}; // io.weight of one device
        properties.push_back({number->property, TRY(number_or_max(value))});
    } else if (file == "cpuset.cpus" || file == "cpuset.mems") {
        properties.push_back({file == "cpuset.cpus" ? "AllowedCPUs" : "AllowedMemoryNodes", TRY(to_mask(value))});
    } else if (file == "cpu.max") {
        const auto quota = TRY(number_or_max(next_part(value, ' ')));
        value = trimmed(value);
        const auto period =
            value.empty() ? kDefaultPeriodUs : static_cast<std::uint64_t>(TRY(parse_integer(value, 1, INT64_MAX)));
        add_quota(properties, quota == kNoLimit ? -1 : static_cast<std::int64_t>(quota), period);
    }
    return {}; // for the others systemd has nothing, so it does not touch them
}

/// 'text' or "text"; the whole of `value` must be it.
std::optional<std::string> quoted(std::string_view value)
{
    if (value.size() < 2 || (value.front() != '\'' && value.front() != '"') || value.back() != value.front())
        return std::nullopt;
    std::string text;
    for (std::size_t i = 1; i + 1 < value.size(); ++i) {
        if (value[i] == value.front()) return std::nullopt; // it ends before its end
        if (value[i] == '\\' && i + 2 < value.size()) ++i;
        text += value[i];
    }
    return text;
}

Result<dbus::Value> parse_text_list(std::string_view inner)
{
    std::vector<std::string> texts;
    while (!(inner = trimmed(inner)).empty()) {
        std::size_t end = 1; // behind the text that begins here
        while (end < inner.size() && inner[end] != inner.front())
            end += inner[end] == '\\' ? 2 : 1;
        const auto text = end < inner.size() ? quoted(inner.substr(0, end + 1)) : std::nullopt;
        if (!text) return fail(ErrorKind::Invalid, "a list must be of texts: ['a', 'b']");
        texts.push_back(*text);
        inner = trimmed(inner.substr(end + 1));
        if (!inner.empty() && inner.front() != ',') return fail(ErrorKind::Invalid, "a ',' is missing in the list");
        if (!inner.empty()) inner.remove_prefix(1);
    }
    return texts;
}

Result<std::uint64_t> parse_unsigned(std::string_view text)
{
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || text.empty())
        return fail(ErrorKind::Invalid, cat("'", printable(text), "' is not a number of type uint64"));
    return value;
}

/// @param factor 1, or what makes microseconds of it
Result<dbus::Value> parse_gvariant(std::string_view text, std::uint64_t factor)
{
    text = trimmed(text);
    if (text == "true" || text == "false") return dbus::Value{text == "true"};
    if (auto plain = quoted(text)) return dbus::Value{*std::move(plain)};
    if (text.starts_with('[') && text.ends_with(']')) return parse_text_list(text.substr(1, text.size() - 2));
    std::string_view rest = text;
    const auto type = next_part(rest, ' ');
    rest = trimmed(rest);
    if (type == "uint64" || factor != 1) {
        const auto value = TRY(parse_unsigned(rest.empty() ? type : rest));
        if (value > kNoLimit / factor) return fail(ErrorKind::Invalid, "the number is too large");
        return dbus::Value{value * factor};
    }
    if (type == "int64") return dbus::Value{std::int64_t{TRY(parse_integer(rest, INT64_MIN, INT64_MAX))}};
    if (type == "uint32") return dbus::Value{static_cast<std::uint32_t>(TRY(parse_integer(rest, 0, UINT32_MAX)))};
    if (type == "int32" || rest.empty())
        return dbus::Value{
            static_cast<std::int32_t>(TRY(parse_integer(rest.empty() ? type : rest, INT32_MIN, INT32_MAX)))};
    return fail(ErrorKind::Invalid, cat("'", printable(text), "' is of no type that is known here"));
}

std::string user_bus_address()
{
    if (const char* const address = std::getenv("DBUS_SESSION_BUS_ADDRESS"); address != nullptr && *address != '\0')
        return address;
    const char* const directory = std::getenv("XDG_RUNTIME_DIR");
    if (directory == nullptr || *directory == '\0') return {};
    return cat("unix:path=", directory, "/bus");
}

} // namespace

Result<std::string> slice_path(std::string_view slice)
{
    const auto invalid = [&] {
        return fail(Error{ErrorKind::Invalid, cat("'", printable(slice), "' is not the name of a slice")}.hint(
            "it has to be like machine.slice or a-b.slice"));
    };
    if (!slice.ends_with(kSliceSuffix) || slice.find('/') != std::string_view::npos) return invalid();
    std::string_view name = slice.substr(0, slice.size() - kSliceSuffix.size());
    if (name == "-") return std::string{};
    if (name.empty() || name.ends_with('-')) return invalid();
    std::string path;
    std::string above;
    while (!name.empty()) {
        const auto part = next_part(name, '-');
        if (part.empty()) return invalid();
        path += cat('/', above, part, kSliceSuffix);
        above += cat(part, '-');
    }
    return path;
}

Result<ScopeName> parse_scope_name(std::string_view cgroups_path, const std::string& id, bool of_user)
{
    ScopeName name{.slice = of_user ? "user.slice" : "system.slice", .unit = cat("coppice-", id, ".scope")};
    if (cgroups_path.empty()) return name;
    if (std::count(cgroups_path.begin(), cgroups_path.end(), ':') != 2 ||
        cgroups_path.find('/') != std::string_view::npos)
        return fail(Error{ErrorKind::Invalid,
                          cat("linux.cgroupsPath: '", printable(cgroups_path), "' is not SLICE:PREFIX:NAME")}
                        .hint("that is its form with the systemd cgroup driver"));
    const auto slice = next_part(cgroups_path, ':');
    const auto prefix = next_part(cgroups_path, ':');
    if (!slice.empty()) name.slice = slice;
    TRY_DOING("linux.cgroupsPath", slice_path(name.slice));
    if (cgroups_path.empty() || cgroups_path.ends_with(kSliceSuffix))
        return fail(ErrorKind::Invalid,
                    cat("linux.cgroupsPath: '", printable(cgroups_path), "' cannot be the name of a scope"));
    name.unit = cat(prefix, prefix.empty() ? "" : "-", cgroups_path, ".scope");
    return name;
}

Result<std::vector<Property>> scope_properties(const CgroupLimits& limits, const CgroupLimits& all)
{
    std::vector<Property> properties;
    if (limits.memory_bytes) properties.push_back({"MemoryMax", or_none(*limits.memory_bytes)});
    if (limits.memory_low_bytes) properties.push_back({"MemoryLow", or_none(*limits.memory_low_bytes)});
    // As for the cgroup's own files, which is also where a swap limit that cannot be is refused.
    if (limits.memory_bytes == -1 && !limits.memory_swap_bytes) {
        properties.push_back({"MemorySwapMax", kNoLimit});
    } else if (all.memory_swap_bytes && (limits.memory_swap_bytes || limits.memory_bytes)) {
        const std::int64_t both = *all.memory_swap_bytes;
        const std::int64_t memory = std::max<std::int64_t>(all.memory_bytes.value_or(0), 0);
        if (both < 0 || both >= memory)
            properties.push_back({"MemorySwapMax", both < 0 ? kNoLimit : or_none(both - memory)});
    }
    if (limits.cpu_shares) properties.push_back({"CPUWeight", cgroup_files::weight_of_shares(*limits.cpu_shares)});
    if (limits.cpu_quota_us || limits.cpu_period_us)
        add_quota(properties, all.cpu_quota_us.value_or(-1), all.cpu_period_us.value_or(kDefaultPeriodUs));
    if (limits.pids) properties.push_back({"TasksMax", or_none(*limits.pids)});
    if (limits.cpuset_cpus) properties.push_back({"AllowedCPUs", TRY_DOING("CPU set", to_mask(*limits.cpuset_cpus))});
    if (limits.cpuset_mems)
        properties.push_back({"AllowedMemoryNodes", TRY_DOING("memory node set", to_mask(*limits.cpuset_mems))});
    for (const auto& [file, value] : limits.unified)
        TRY_DOING(cat("linux.resources.unified: ", file), add_unified(properties, file, value));
    return properties;
}

Result<std::vector<Property>> annotated_properties(const std::map<std::string, std::string>& annotations)
{
    constexpr std::string_view kPrefix = "org.systemd.property.";
    std::vector<Property> properties;
    for (const auto& [key, value] : annotations) {
        if (!key.starts_with(kPrefix)) continue;
        std::string name = key.substr(kPrefix.size());
        const bool letters =
            std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalpha(c) != 0 && c < 128; });
        if (name.size() < 3 || !letters)
            return fail(ErrorKind::Invalid, cat("annotation ", printable(key), ": that is no property of a unit"));
        std::uint64_t factor = 1;
        if (name.ends_with("Sec") && !name.ends_with("USec")) {
            name.replace(name.size() - 3, 3, "USec");
            factor = 1'000'000;
        }
        properties.push_back({name, TRY_DOING(cat("annotation ", key), parse_gvariant(value, factor))});
    }
    return properties;
}

Result<Systemd> Systemd::connect(bool of_user)
{
    if (!of_user) {
        if (!exists(kCwd, "/run/systemd/system"))
            return fail(
                Error{ErrorKind::Unsupported, "the systemd cgroup driver needs systemd as the host's init"}.hint(
                    "leave out --systemd-cgroup, or have the client use cgroupfs"));
        const char* const address = std::getenv("DBUS_SYSTEM_BUS_ADDRESS");
        auto bus = dbus::Connection::open(address != nullptr ? address : "unix:path=/run/dbus/system_bus_socket");
        // systemd itself listens, too, for root alone; a minimal host may have no bus.
        if (!bus && ::geteuid() == 0)
            if (auto peer = dbus::Connection::open_peer("/run/systemd/private")) bus = std::move(peer);
        if (!bus) return fail(std::move(bus).error().with("connect to systemd"));
        return Systemd{*std::move(bus), false};
    }
    auto bus = TRY_DOING("connect to the user's systemd", dbus::Connection::open(user_bus_address()));
    return Systemd{std::move(bus), true};
}

Result<Systemd> Systemd::connect()
{
    if (is_host_root() || user_bus_address().empty()) return connect(false);
    return connect(true);
}

Result<dbus::Message> Systemd::call(const char* method, std::string signature, const dbus::Writer& body)
{
    return bus_.call({.destination = kService,
                      .path = kPath,
                      .interface = kManager,
                      .member = method,
                      .signature = std::move(signature),
                      .body = body.bytes()});
}

Result<std::string> Systemd::property(const std::string& object, const char* interface, const char* name)
{
    dbus::Writer body;
    body.text(interface);
    body.text(name);
    const auto reply = TRY(bus_.call({.destination = kService,
                                      .path = object,
                                      .interface = "org.freedesktop.DBus.Properties",
                                      .member = "Get",
                                      .signature = "ss",
                                      .body = body.bytes()}));
    return dbus::Reader{reply.body}.variant_text();
}

Result<std::string> Systemd::slice_of(const std::string& unit)
{
    dbus::Writer body;
    body.text(unit);
    const auto found = TRY_DOING(cat("systemd: look for ", unit), call("GetUnit", "s", body));
    const auto object = TRY(dbus::Reader{found.body}.text());
    return property(object, "org.freedesktop.systemd1.Scope", "Slice");
}

Result<std::string> Systemd::cgroup_of(const ScopeName& name)
{
    auto path = TRY_DOING("ask systemd for its cgroup", property(kPath, kManager, "ControlGroup"));
    if (path == "/") path.clear();
    return cat(path, TRY(slice_path(name.slice)), '/', name.unit);
}

Result<> Systemd::follow_jobs()
{
    if (follows_jobs_) return {};
    TRY(bus_.add_match(cat("type='signal',sender='", kService, "',path='", kPath, "',interface='", kManager,
                           "',member='JobRemoved'")));
    follows_jobs_ = true;
    return {};
}

Result<> Systemd::wait_for_job(const dbus::Message& reply, const std::string& unit)
{
    const auto job = TRY(dbus::Reader{reply.body}.text());
    const auto deadline = dbus::deadline_from_now(); // other jobs' signals do not put it off
    for (;;) {
        const auto signal = TRY(bus_.wait_for_signal("JobRemoved", deadline));
        // Anybody on the bus can send us a signal of that name: only systemd's own counts.
        if (signal.sender != reply.sender || signal.signature != "uoss") continue;
        dbus::Reader body{signal.body};
        TRY(body.number());
        const auto ended = TRY(body.text());
        if (ended != job) continue;
        TRY(body.text()); // the unit
        const auto result = TRY(body.text());
        if (result == "done") return {};
        return fail(
            Error{ErrorKind::Unavailable, cat("the job for ", unit, " ended with '", printable(result), "'")}.hint(
                cat("see journalctl ", of_user_ ? "--user " : "", "-u ", unit)));
    }
}

Result<> Systemd::reset_failed(const std::string& unit)
{
    dbus::Writer body;
    body.text(unit);
    const auto done = call("ResetFailedUnit", "s", body);
    if (!done && done.error().kind() != ErrorKind::NotFound) return fail(done.error());
    return {};
}

Result<> Systemd::start_scope(const ScopeName& name, pid_t pid, const std::string& description,
                              const std::vector<Property>& properties)
{
    std::vector<Property> all{{"Description", description},
                              {"Slice", name.slice},
                              {"Delegate", true},
                              {"DefaultDependencies", false},
                              // Gone with its last process, also when that was killed for want of memory.
                              {"CollectMode", std::string{"inactive-or-failed"}},
                              {"CPUAccounting", true},
                              {"MemoryAccounting", true},
                              {"IOAccounting", true},
                              {"TasksAccounting", true},
                              {"PIDs", std::vector<std::uint32_t>{static_cast<std::uint32_t>(pid)}}};
    for (const Property& property : properties) {
        const auto same = [&](const Property& one) { return one.name == property.name; };
        std::erase_if(all, same); // the later one counts
        all.push_back(property);
    }
    dbus::Writer body;
    body.text(name.unit);
    body.text("fail");
    body.properties(all);
    body.end_array(body.begin_array(8)); // auxiliary units: none
    const std::string doing = cat("systemd: start ", name.unit);
    TRY_DOING(doing, follow_jobs());
    auto reply = call("StartTransientUnit", "ssa(sv)a(sa(sv))", body);
    if (!reply && reply.error().kind() == ErrorKind::Conflict) {
        TRY_DOING(doing, reset_failed(name.unit)); // one that has failed is in nobody's use
        reply = call("StartTransientUnit", "ssa(sv)a(sa(sv))", body);
    }
    if (!reply) return fail(std::move(reply).error().with(doing));
    auto ended = wait_for_job(*reply, name.unit);
    if (ended) return {};
    [[maybe_unused]] const auto reset = reset_failed(name.unit); // the first error is the one to tell
    return fail(std::move(ended).error().with(doing));
}

Result<> Systemd::set_scope_properties(const std::string& unit, const std::vector<Property>& properties)
{
    if (properties.empty()) return {};
    dbus::Writer body;
    body.text(unit);
    body.number(std::uint32_t{1}); // for this run of it alone: nothing is written to /etc
    body.properties(properties);
    TRY_DOING(cat("systemd: change ", unit), call("SetUnitProperties", "sba(sv)", body));
    return {};
}

Result<> Systemd::stop_scope(const std::string& unit)
{
    const std::string doing = cat("systemd: stop ", unit);
    TRY_DOING(doing, follow_jobs());
    dbus::Writer body;
    body.text(unit);
    body.text("replace");
    auto reply = call("StopUnit", "ss", body);
    if (!reply && reply.error().kind() == ErrorKind::NotFound) return {};
    if (!reply) return fail(std::move(reply).error().with(doing));
    TRY_DOING(doing, wait_for_job(*reply, unit));
    TRY_DOING(doing, reset_failed(unit));
    return {};
}

} // namespace coppice::os
