#include "coppice/instance/doctor.h"

#include "coppice/base/text.h"
#include "coppice/os/cgroup.h"
#include "coppice/os/file.h"

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace coppice::instance {

namespace {

const char* word_of(const Result<os::CgroupLayout>& layout)
{
    if (!layout) return "none";
    switch (layout->mode()) {
    case os::CgroupMode::Unified: return "v2";
    case os::CgroupMode::Hybrid: return "hybrid (controllers on v1)";
    case os::CgroupMode::Legacy: return "v1";
    }
    return "none";
}

/// The directory that a store would be made in, when it is not there yet.
std::string existing_part(std::string path)
{
    while (path.size() > 1 && !os::exists(os::kCwd, path))
        path.resize(std::max<std::size_t>(path.find_last_of('/'), 1));
    return path;
}

bool has(const std::vector<os::Feature>& features, std::string_view name)
{
    return std::any_of(features.begin(), features.end(),
                       [&](const os::Feature& feature) { return feature.name == name && feature.available; });
}

std::vector<ActivePath> paths_of(const std::vector<os::Feature>& features)
{
    const bool erofs = has(features, "EROFS"), files = has(features, "EROFS from files");
    const bool separate = has(features, "overlay layers one by one");
    const bool into = has(features, "cgroup v2 hierarchy");
    return {{.what = "layers of vdisks",
             .how = !erofs  ? "none: no vdisk can be mounted"
                    : files ? "EROFS from files"
                            : "EROFS over loop devices, two for each layer",
             .better = !erofs  ? "load the kernel module 'erofs'"
                       : files ? ""
                               : "Linux 6.12 needs no loop devices"},
            {.what = "stacks of layers",
             .how = separate ? "lowerdir+, layer by layer" : "one option string, up to 500 layers",
             .better = separate ? "" : "Linux 6.7 takes layers one by one"},
            {.what = "cgroups of instances",
             .how = into ? "v2: born inside, killed as a whole" : "v1: entered after birth",
             .better = into ? "" : "boot with systemd.unified_cgroup_hierarchy=1"}};
}

bool is_in_path(const std::string& program)
{
    const char* const path = ::getenv("PATH");
    for (const auto directory : split(path == nullptr ? "/usr/sbin:/usr/bin:/sbin:/bin" : path, ':'))
        if (!directory.empty() && ::access(cat(directory, '/', program).c_str(), X_OK) == 0) return true;
    return false;
}

std::vector<Tool> find_tools()
{
    std::vector<Tool> tools{{"skopeo", "skopeo", "import of docker://"},
                            {"mmdebstrap", "mmdebstrap", "import of debian: and ubuntu: suites"},
                            {"qemu-img", "qemu-utils", "import of qcow2 and other disk images"},
                            {"ssh", "openssh-client", "capture of another machine"},
                            {"tar", "tar", "capture, cp"},
                            {"diff", "diffutils", "diff --patch"}};
    for (Tool& tool : tools)
        tool.available = is_in_path(tool.name);
    return tools;
}

} // namespace

bool HostReport::is_able() const
{
    return std::all_of(features.begin(), features.end(),
                       [](const os::Feature& feature) { return feature.available || !feature.required; });
}

HostReport examine_host(const std::string& root)
{
    auto features = os::probe_features(existing_part(root));
    auto paths = paths_of(features);
    return {.kernel = os::kernel_release(),
            .cgroups = word_of(os::CgroupLayout::detect()),
            .features = std::move(features),
            .paths = std::move(paths),
            .tools = find_tools()};
}

nlohmann::json to_json(const HostReport& report)
{
    auto features = nlohmann::json::array(), paths = nlohmann::json::array(), tools = nlohmann::json::array();
    for (const os::Feature& feature : report.features)
        features.push_back({{"name", feature.name},
                            {"available", feature.available},
                            {"required", feature.required},
                            {"needed_for", feature.needed_for},
                            {"otherwise", feature.otherwise}});
    for (const ActivePath& path : report.paths)
        paths.push_back({{"what", path.what}, {"how", path.how}, {"better", path.better}});
    for (const Tool& tool : report.tools)
        tools.push_back({{"name", tool.name},
                         {"package", tool.package},
                         {"needed_for", tool.needed_for},
                         {"available", tool.available}});
    return {{"kernel", report.kernel},
            {"cgroups", report.cgroups},
            {"features", std::move(features)},
            {"paths", std::move(paths)},
            {"tools", std::move(tools)}};
}

} // namespace coppice::instance
