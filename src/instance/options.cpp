#include "coppice/instance/options.h"

#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "coppice/os/capability.h"
#include "coppice/os/file.h"
#include "coppice/runtime/spec.h"
#include "seccomp_profile.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <set>
#include <sys/resource.h>
#include <sys/stat.h>

namespace coppice::instance {

namespace {

constexpr std::string_view kBlanks = " \t\v\f\r";

std::string upper(std::string_view text)
{
    std::string result;
    for (const char c : text)
        result += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    return result;
}

bool is_destination(std::string_view path)
{
    if (!path.starts_with('/') || path.find_first_not_of('/') == std::string_view::npos) return false;
    const auto parts = split(path, '/');
    return std::find(parts.begin(), parts.end(), "..") == parts.end();
}

bool is_access(std::string_view text)
{
    return !text.empty() && text.size() <= 3 && text.find_first_not_of("rwm") == std::string_view::npos;
}

/// What the runtime puts into every container, over whatever else is there.
bool is_default_device(std::string_view path)
{
    constexpr std::array<std::string_view, 6> kDefault{"/dev/null",   "/dev/zero",    "/dev/full",
                                                       "/dev/random", "/dev/urandom", "/dev/tty"};
    return std::find(kDefault.begin(), kDefault.end(), path) != kDefault.end();
}

bool is_octal(std::string_view text)
{
    return !text.empty() && text.size() <= 5 && text.find_first_not_of("01234567") == std::string_view::npos;
}

/// How tmpfs is told of it; empty when it is nothing that an instance may choose. Source: tmpfs(5)
std::string tmpfs_option(std::string_view option)
{
    constexpr std::array<std::string_view, 14> kWords{"ro",       "rw",         "exec",        "noexec",  "suid",
                                                      "nosuid",   "dev",        "nodev",       "atime",   "noatime",
                                                      "diratime", "nodiratime", "strictatime", "relatime"};
    if (std::find(kWords.begin(), kWords.end(), option) != kWords.end()) return std::string{option};
    const auto equals = option.find('=');
    if (equals == std::string_view::npos) return {};
    const auto name = option.substr(0, equals);
    const auto value = option.substr(equals + 1);
    if (name == "size") {
        if (value.ends_with('%'))
            return parse_integer(value.substr(0, value.size() - 1), 1, 100) ? std::string{option} : "";
        const auto bytes = parse_bytes(value);
        return bytes && *bytes > 0 ? cat("size=", *bytes) : ""; // tmpfs takes 0 for "no limit"
    }
    if (name == "mode") return is_octal(value) ? std::string{option} : "";
    if (name == "uid" || name == "gid") return parse_integer(value, 0, UINT32_MAX - 1) ? std::string{option} : "";
    if (name == "nr_inodes") return parse_integer(value, 1, INT64_MAX) ? std::string{option} : "";
    return {};
}

Result<std::uint64_t> parse_limit(std::string_view text)
{
    if (text == "-1" || text == "unlimited") return RLIM_INFINITY;
    const auto number = TRY(parse_integer(text, 0, INT64_MAX));
    return static_cast<std::uint64_t>(number);
}

} // namespace

Result<std::vector<std::string>> parse_env_file(std::string_view text, std::string_view name)
{
    constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF"; // as editors of other systems begin files
    if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
    std::vector<std::string> entries;
    for (std::size_t number = 1; !text.empty(); ++number) {
        auto line = next_part(text, '\n');
        if (line.ends_with('\r')) line.remove_suffix(1);
        line.remove_prefix(std::min(line.find_first_not_of(kBlanks), line.size()));
        if (line.empty() || line.front() == '#') continue;
        const auto variable = line.substr(0, line.find('='));
        const auto wrong = [&](std::string_view why) {
            return fail(Error{ErrorKind::Invalid, cat(name, ": line ", number, ": ", why)}.hint(
                "a line is NAME=value, NAME alone, or # with a comment"));
        };
        if (variable.empty()) return wrong("no variable name");
        if (variable.find_first_of(kBlanks) != std::string_view::npos)
            return wrong(cat("the variable name '", printable(variable), "' holds a blank"));
        if (line.find('\0') != std::string_view::npos) return wrong("it holds a zero byte");
        entries.emplace_back(line);
    }
    return entries;
}

Result<std::string> parse_capability(std::string_view text)
{
    std::string name = upper(text);
    if (name == "ALL") return name;
    if (!name.starts_with("CAP_")) name.insert(0, "CAP_");
    if (os::find_capability(name) == 0)
        return fail(Error{ErrorKind::Invalid, cat("capability '", text, "' is unknown")}.hint(
            "capabilities(7) lists them, for example NET_ADMIN; ALL is all of them"));
    return name;
}

Result<Device> parse_device(std::string_view text)
{
    const auto wrong = [text](std::string_view why) {
        return fail(Error{ErrorKind::Invalid, cat("device '", text, "': ", why)}.hint("use HOST[:INSIDE[:rwm]]"));
    };
    const auto parts = split(text, ':');
    if (parts.size() > 3) return wrong("too many parts");
    Device device{.source = std::string{parts[0]}, .destination = std::string{parts[0]}, .access = "rwm"};
    if (parts.size() > 1 && !(parts.size() == 2 && is_access(parts[1]))) device.destination = parts[1];
    if (parts.size() == 2 && is_access(parts[1])) device.access = parts[1];
    if (parts.size() == 3) {
        if (!is_access(parts[2])) return wrong(cat("the access '", parts[2], "' is not made of r, w and m"));
        device.access = parts[2];
    }
    if (!device.source.starts_with('/')) return wrong("the path on the host must be absolute");
    if (!is_destination(device.destination) || device.destination.ends_with('/'))
        return wrong("the path inside must be absolute, below / and without ..");
    if (device.source != device.destination && is_default_device(device.destination))
        return wrong(cat("every instance has its own ", device.destination));
    struct stat status{};
    if (::stat(device.source.c_str(), &status) < 0)
        return fail(Error::os(errno, cat("device ", device.source)).hint("it must exist on the host"));
    if (!S_ISCHR(status.st_mode) && !S_ISBLK(status.st_mode))
        return wrong(S_ISDIR(status.st_mode) ? "it is a directory; name each device in it" : "it is no device");
    return device;
}

Result<Tmpfs> parse_tmpfs(std::string_view text)
{
    std::string_view rest = text;
    Tmpfs tmpfs{.destination = std::string{next_part(rest, ':')}, .options = {}};
    if (!is_destination(tmpfs.destination))
        return fail(
            Error{ErrorKind::Invalid, cat("tmpfs '", text, "': the path must be absolute, below / and without ..")}
                .hint("use PATH[:OPTION,...]"));
    while (tmpfs.destination.ends_with('/'))
        tmpfs.destination.pop_back();
    while (!rest.empty()) {
        const auto option = next_part(rest, ',');
        auto known = tmpfs_option(option);
        if (known.empty())
            return fail(
                Error{ErrorKind::Invalid, cat("tmpfs '", text, "': unknown or wrong option '", option, '\'')}.hint(
                    "known: size=64m, mode=1777, uid=, gid=, nr_inodes=, ro, exec, suid, dev, noatime"));
        tmpfs.options.push_back(std::move(known));
    }
    return tmpfs;
}

Result<Ulimit> parse_ulimit(std::string_view text)
{
    const auto wrong = [text](std::string_view why) {
        return fail(Error{ErrorKind::Invalid, cat("ulimit '", text, "': ", why)}.hint(
            "use NAME=SOFT[:HARD], for example nofile=1024:4096"));
    };
    const auto equals = text.find('=');
    if (equals == std::string_view::npos || equals == 0) return wrong("no name and value");
    Ulimit limit{.name = upper(text.substr(0, equals))};
    if (!limit.name.starts_with("RLIMIT_")) limit.name.insert(0, "RLIMIT_");
    if (!runtime::find_rlimit(limit.name))
        return wrong(cat("there is no limit '", text.substr(0, equals), "'; getrlimit(2) lists them"));
    std::string_view values = text.substr(equals + 1);
    const bool has_hard = values.find(':') != std::string_view::npos;
    const auto soft = parse_limit(next_part(values, ':'));
    const auto hard = has_hard ? parse_limit(values) : soft;
    if (!soft || !hard) return wrong("a limit is a whole number, -1 or unlimited");
    if (*soft > *hard) return wrong("the soft limit is above the hard one");
    limit.soft = *soft;
    limit.hard = *hard;
    return limit;
}

Result<std::pair<std::string, std::string>> parse_label(std::string_view text)
{
    std::string_view value = text;
    const auto name = next_part(value, '=');
    if (name.empty()) return fail(Error{ErrorKind::Invalid, cat("label '", text, "': no name")}.hint("use NAME=value"));
    if (name.starts_with("coppice."))
        return fail(ErrorKind::Invalid,
                    cat("label '", text, "': names that begin with 'coppice.' belong to coppice itself"));
    return std::pair{std::string{name}, std::string{value}};
}

Result<> apply_security_option(InstanceConfig& config, std::string_view text)
{
    std::string_view value = text;
    const auto name = next_part(value, text.starts_with("no-new-privileges:") ? ':' : '='); // docker takes both there
    const bool has_value = name.size() != text.size();
    const auto wrong = [text](std::string_view why) {
        return fail(ErrorKind::Invalid, cat("--security-opt ", text, ": ", why));
    };
    if (name == "no-new-privileges") {
        if (has_value && value != "true" && value != "false") return wrong("the value must be true or false");
        config.no_new_privileges = value != "false";
        return {};
    }
    if (name == "seccomp") {
        if (value.empty()) return wrong("use seccomp=FILE or seccomp=unconfined");
        config.seccomp =
            value == kUnconfined ? kUnconfined : TRY_DOING("--security-opt", read_seccomp_profile(std::string{value}));
        return {};
    }
    if (name == "apparmor") {
        if (value.empty()) return wrong("use apparmor=PROFILE");
        config.apparmor = value;
        return {};
    }
    if (text == "label=disable") return {}; // instances have no SELinux label: that is how they are anyway
    return fail(Error{ErrorKind::Unsupported, cat("--security-opt ", text, ": not supported")}.hint(
        "use no-new-privileges, seccomp=FILE, seccomp=unconfined, apparmor=PROFILE or label=disable"));
}

Result<> apply_log_option(InstanceConfig& config, std::string_view text)
{
    std::string_view value = text;
    const auto name = next_part(value, '=');
    const std::string doing = cat("--log-opt ", text);
    if (name == "max-size") {
        const auto bytes = TRY_DOING(doing, parse_bytes(value));
        if (bytes < kLeastLogBytes || bytes > kMostLogBytes)
            return fail(ErrorKind::Invalid, cat(doing, ": must be from ", format_bytes(kLeastLogBytes), " to ",
                                                format_bytes(kMostLogBytes)));
        config.log_max_bytes = static_cast<std::int64_t>(bytes);
        return {};
    }
    if (name == "max-file") {
        config.log_max_files = TRY_DOING(doing, parse_integer(value, 1, kMostLogFiles));
        return {};
    }
    return fail(Error{ErrorKind::Invalid, cat(doing, ": there is no such option")}.hint(
        "use max-size=SIZE, for example 10m, or max-file=NUMBER"));
}

Result<std::int64_t> parse_swap(std::string_view text)
{
    if (text == "-1") return -1;
    const auto bytes = TRY(parse_bytes(text));
    if (bytes > INT64_MAX / 2) return fail(ErrorKind::Invalid, cat("'", text, "' is too much"));
    return static_cast<std::int64_t>(bytes);
}

Result<> check_destinations(const InstanceConfig& config)
{
    std::set<std::string> taken;
    const auto take = [&taken](std::string destination) -> Result<> {
        while (destination.size() > 1 && destination.ends_with('/'))
            destination.pop_back();
        if (taken.insert(destination).second) return {};
        return fail(Error{ErrorKind::Invalid, cat("two things are to be at ", destination, " inside")}.hint(
            "give each -v, --tmpfs and --device a place of its own"));
    };
    for (const Volume& volume : config.volumes)
        TRY(take(volume.destination));
    for (const Tmpfs& tmpfs : config.tmpfs)
        TRY(take(tmpfs.destination));
    for (const Device& device : config.devices)
        TRY(take(device.destination));
    return {};
}

} // namespace coppice::instance
