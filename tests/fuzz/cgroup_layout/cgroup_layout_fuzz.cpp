#include "coppice/os/cgroup.h"

#include "coppice/base/error.h"

#include <string_view>

/// Input: mountinfo, a NUL byte, /proc/self/cgroup.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    using namespace coppice;
    const std::string_view text{reinterpret_cast<const char*>(data), size};
    const auto nul = text.find('\0');
    const auto layout = os::CgroupLayout::parse(text.substr(0, nul), nul == text.npos ? "" : text.substr(nul + 1));
    if (!layout) return 0;
    COPPICE_CHECK(layout->v2_mount().empty() == (layout->mode() == os::CgroupMode::Legacy));
    COPPICE_CHECK(layout->v2_mount().empty() == layout->v2_directory("/a/b").empty());
    if (!layout->v2_mount().empty()) {
        COPPICE_CHECK(layout->v2_directory("/a").ends_with("/a"));
        COPPICE_CHECK(layout->v2_directory("a").ends_with("/a"));
    }
    for (const auto& hierarchy : layout->v1_hierarchies())
        for (const std::string& option : hierarchy.options)
            COPPICE_CHECK(layout->v1_directory(option, "/a").ends_with("/a"));
    return 0;
}
