#include "seccomp_profile.h"

#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "coppice/os/capability.h"
#include "coppice/os/file.h"
#include "coppice/runtime/spec.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sys/utsname.h>

namespace coppice::instance {

namespace {

using nlohmann::json;

constexpr std::size_t kProfileMaxBytes = 1U << 20;

#if defined(__x86_64__)
constexpr std::string_view kProcessor = "amd64"; // as Go calls it
constexpr std::string_view kArchitecture = "SCMP_ARCH_X86_64";
#elif defined(__aarch64__)
constexpr std::string_view kProcessor = "arm64";
constexpr std::string_view kArchitecture = "SCMP_ARCH_AARCH64";
#else
#error "seccomp profiles are known for x86_64 and aarch64"
#endif

/// "6.1" of "6.1.0-18-amd64" as a pair that compares; a text that is no version is below all.
std::pair<std::int64_t, std::int64_t> version_of(std::string_view text)
{
    const auto take = [&text] {
        const auto digits = text.substr(0, std::min(text.find_first_not_of("0123456789"), text.size()));
        text.remove_prefix(std::min(digits.size() + 1, text.size()));
        return parse_integer(digits, 0, INT32_MAX).value_or(-1);
    };
    const auto major = take();
    return {major, take()};
}

bool kernel_is_at_least(std::string_view wanted)
{
    utsname names{};
    return ::uname(&names) == 0 && version_of(names.release) >= version_of(wanted);
}

json member_or_null(const json& object, const char* key)
{
    return object.is_object() && object.contains(key) ? object.at(key) : json{};
}

bool holds_any(const json& list, const auto& is_met)
{
    return std::any_of(list.begin(), list.end(), [&](const json& word) {
        return word.is_string() && is_met(word.get_ref<const std::string&>());
    });
}

/// Whether a rule applies here: all capabilities and one of the processors of `includes`, and none of `excludes`.
bool applies(const json& rule, const std::vector<std::string>& capabilities)
{
    const auto has = [&](const std::string& name) {
        return std::find(capabilities.begin(), capabilities.end(), name) != capabilities.end();
    };
    const auto has_not = [&](const std::string& name) { return !has(name); };
    const auto is_processor = [](const std::string& name) { return name == kProcessor; };
    const auto is_kernel = [](const json& least) {
        return least.is_string() && kernel_is_at_least(least.get_ref<const std::string&>());
    };
    const json includes = member_or_null(rule, "includes");
    const json excludes = member_or_null(rule, "excludes");
    const json arches = member_or_null(includes, "arches");
    const json least = member_or_null(includes, "minKernel");
    if (!arches.empty() && !holds_any(arches, is_processor)) return false;
    if (holds_any(member_or_null(includes, "caps"), has_not)) return false;
    if (least.is_string() && !is_kernel(least)) return false;
    return !holds_any(member_or_null(excludes, "arches"), is_processor) &&
           !holds_any(member_or_null(excludes, "caps"), has) && !is_kernel(member_or_null(excludes, "minKernel"));
}

/// Each processor family of the profile lists what its kernels execute, too.
json architectures_of(const json& map)
{
    json result = json::array();
    for (const json& entry : map) {
        if (member_or_null(entry, "architecture") != kArchitecture) continue;
        result.push_back(kArchitecture);
        for (const json& also : member_or_null(entry, "subArchitectures"))
            result.push_back(also);
    }
    return result;
}

} // namespace

json to_oci_seccomp(const json& profile, const std::vector<std::string>& capabilities)
{
    json result = profile;
    if (!member_or_null(profile, "archMap").empty()) result["architectures"] = architectures_of(profile["archMap"]);
    result.erase("archMap");
    const json rules = member_or_null(profile, "syscalls");
    if (!rules.is_array()) return result; // absent, or nothing that the runtime takes either
    result["syscalls"] = json::array();
    for (const json& rule : rules) {
        if (!applies(rule, capabilities)) continue;
        json kept = rule;
        if (rule.is_object() && rule.contains("name") && !rule.contains("names")) { // docker's form of before 2016
            kept["names"] = json::array({rule["name"]});
            kept.erase("name");
        }
        if (rule.is_object())
            for (const char* const key : {"includes", "excludes", "comment"})
                kept.erase(key);
        result["syscalls"].push_back(std::move(kept));
    }
    return result;
}

Result<std::string> read_seccomp_profile(const std::string& path)
{
    const auto text = TRY_DOING("seccomp profile", os::read_file(os::kCwd, path, kProfileMaxBytes));
    const auto profile = TRY_DOING(cat("seccomp profile ", path), parse_json(text));
    if (!profile.is_object()) return fail(ErrorKind::Invalid, cat("seccomp profile ", path, ": must be a JSON object"));
    for (const auto& capabilities : {os::all_capability_names(), std::vector<std::string>{}}) { // each rule is in one
        const json document{{"ociVersion", "1.2.0"},
                            {"root", {{"path", "/"}}},
                            {"linux", {{"seccomp", to_oci_seccomp(profile, capabilities)}}}};
        TRY_DOING(cat("seccomp profile ", path), runtime::parse_spec(document.dump()));
    }
    return profile.dump();
}

} // namespace coppice::instance
