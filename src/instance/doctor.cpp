#include "coppice/instance/doctor.h"

#include "coppice/os/cgroup.h"
#include "coppice/os/file.h"

#include <algorithm>

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

} // namespace

bool HostReport::is_able() const
{
    return std::all_of(features.begin(), features.end(),
                       [](const os::Feature& feature) { return feature.available || !feature.required; });
}

HostReport examine_host(const std::string& root)
{
    return {.kernel = os::kernel_release(),
            .cgroups = word_of(os::CgroupLayout::detect()),
            .features = os::probe_features(existing_part(root))};
}

} // namespace coppice::instance
