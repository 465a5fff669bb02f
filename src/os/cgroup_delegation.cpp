#include "coppice/base/text.h"
#include "coppice/os/cgroup.h"
#include "coppice/os/file.h"

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

namespace coppice::os {

namespace {

/// What whoever manages a cgroup writes to; the kernel knows best.
Result<std::vector<std::string>> delegated_files()
{
    auto text = read_file(kCwd, "/sys/kernel/cgroup/delegate", 4096);
    if (!text && text.error().kind() == ErrorKind::NotFound) // Linux before 4.15
        return std::vector<std::string>{"cgroup.procs", "cgroup.threads", "cgroup.subtree_control"};
    if (!text) return fail(std::move(text).error());
    std::vector<std::string> names;
    for (const auto name : split(*text, '\n'))
        if (!name.empty()) names.emplace_back(name);
    return names;
}

} // namespace

Result<> delegate_cgroup(const CgroupPaths& paths, uid_t owner)
{
    const auto directory = TRY(open_at(kCwd, paths.v2, O_RDONLY | O_DIRECTORY));
    for (const std::string& name : TRY(delegated_files()))
        if (::fchownat(directory.get(), name.c_str(), owner, gid_t(-1), AT_SYMLINK_NOFOLLOW) < 0 && errno != ENOENT)
            return fail_os(errno, cat("hand over ", paths.v2, '/', name)); // not every cgroup has all of them
    if (::fchown(directory.get(), owner, gid_t(-1)) < 0) return fail_os(errno, cat("hand over ", paths.v2));
    return {};
}

} // namespace coppice::os
