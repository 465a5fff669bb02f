#include "cgroup_files.h"
#include "coppice/base/text.h"

// Limits that v1 and v2 have alike.
namespace coppice::os::cgroup_files {

void add_cpuset(std::vector<LimitWrite>& writes, const CgroupLimits& limits)
{
    if (limits.cpuset_cpus)
        writes.push_back(
            {.controller = "cpuset", .file = "cpuset.cpus", .value = *limits.cpuset_cpus, .what = "CPU set"});
    if (limits.cpuset_mems)
        writes.push_back(
            {.controller = "cpuset", .file = "cpuset.mems", .value = *limits.cpuset_mems, .what = "memory node set"});
}

void add_huge_pages(std::vector<LimitWrite>& writes, const CgroupLimits& limits, std::string_view ending)
{
    for (const auto& [size, bytes] : limits.huge_pages) {
        writes.push_back({.controller = "hugetlb",
                          .file = cat("hugetlb.", size, '.', ending),
                          .value = cat(bytes),
                          .what = cat("huge pages of ", size),
                          .kernel_need = "CONFIG_CGROUP_HUGETLB and this page size"});
        writes.push_back({.controller = "hugetlb", // reservations count since Linux 5.7
                          .file = cat("hugetlb.", size, ".rsvd.", ending),
                          .value = cat(bytes),
                          .what = cat("reserved huge pages of ", size),
                          .skip_if_missing = true});
    }
}

void add_rdma(std::vector<LimitWrite>& writes, const CgroupLimits& limits)
{
    for (const auto& [device, limit] : limits.rdma) {
        std::string value = device;
        if (limit.handles) value += cat(" hca_handle=", *limit.handles);
        if (limit.objects) value += cat(" hca_object=", *limit.objects);
        writes.push_back({.controller = "rdma",
                          .file = "rdma.max",
                          .value = value,
                          .what = "RDMA objects",
                          .content = Content::Line,
                          .key = device,
                          .unset = device + " hca_handle=max hca_object=max"});
    }
}

} // namespace coppice::os::cgroup_files
