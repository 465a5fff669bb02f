#include "resctrl.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/mount.h"

#include <cerrno>
#include <unistd.h>

namespace coppice::runtime {

namespace {

constexpr const char* kMount = "/sys/fs/resctrl";

Result<os::Fd> open_resctrl()
{
    constexpr std::uint64_t kResctrlMagic = 0x7655821;
    auto root = os::open_at(os::kCwd, kMount, O_RDONLY | O_DIRECTORY);
    if (root && TRY(os::file_system_magic(root->get())) == kResctrlMagic) return root;
    return fail(Error{ErrorKind::Unsupported, cat("linux.intelRdt: no resctrl file system on ", kMount)}.hint(
        "it needs a processor with RDT, CONFIG_X86_CPU_RESCTRL, and: mount -t resctrl resctrl /sys/fs/resctrl"));
}

std::string group_of(const IntelRdt& wanted, const std::string& id) { return wanted.group.empty() ? id : wanted.group; }

Result<> make_if_missing(int dir, const std::string& path)
{
    auto made = os::make_directory(dir, path, 0755);
    if (!made && made.error().os_errno() != EEXIST) return made;
    return {};
}

Result<> join(const IntelRdt& wanted, const std::string& id, pid_t pid)
{
    const auto root = TRY(open_resctrl());
    const std::string group = group_of(wanted, id);
    const bool exists_already = !wanted.group.empty() && wanted.schemata.empty();
    if (!exists_already) TRY(make_if_missing(root.get(), group));
    for (const std::string& lines : wanted.schemata)
        TRY(os::write_control(root.get(), group + "/schemata", lines + '\n'));
    TRY(os::write_control(root.get(), group + "/tasks", cat(pid)));
    if (!wanted.monitoring) return {};
    const std::string monitored = cat(group, "/mon_groups/", id);
    TRY(make_if_missing(root.get(), monitored));
    return os::write_control(root.get(), monitored + "/tasks", cat(pid));
}

} // namespace

Result<> join_resctrl(const IntelRdt& wanted, const std::string& id, pid_t pid)
{
    return with_context(join(wanted, id, pid), "linux.intelRdt");
}

std::string own_resctrl_group(const IntelRdt& wanted, const std::string& id)
{
    if (wanted.group.empty()) return id;
    return wanted.monitoring ? cat(wanted.group, "/mon_groups/", id) : ""; // a class with a name may serve others, too
}

Result<> remove_resctrl_group(const std::string& group)
{
    if (group.empty()) return {};
    const auto root = open_resctrl();
    if (!root) return {};
    if (::unlinkat(root->get(), group.c_str(), AT_REMOVEDIR) < 0 && errno != ENOENT)
        return fail_os(errno, cat("remove resctrl group ", group));
    return {};
}

} // namespace coppice::runtime
