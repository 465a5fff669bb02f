#include "coppice/base/text.h"
#include "coppice/runtime/control.h"
#include "resources.h"

#include <algorithm>

namespace coppice::runtime {

Result<> need_cgroup(const StateRecord& record)
{
    if (!record.cgroup.empty()) return {};
    return fail(Error{ErrorKind::Unsupported, cat("container ", record.id, " has no cgroup of its own")}.hint(
        "have a cgroup delegated to you before you create it"));
}

Result<> pause(const StateRoot& root, const std::string& id)
{
    const auto directory = TRY(root.find(id));
    const auto record = TRY(directory.read_state());
    TRY(need_cgroup(record));
    const auto status = TRY(status_of(directory, record));
    if (status != Status::Running && status != Status::Created)
        return fail(ErrorKind::Conflict, cat("cannot pause ", id, ": container not running but ", to_word(status)));
    return with_context(os::freeze_cgroup(record.cgroup), cat("pause container ", id));
}

Result<> resume(const StateRoot& root, const std::string& id)
{
    const auto directory = TRY(root.find(id));
    const auto record = TRY(directory.read_state());
    const auto status = TRY(status_of(directory, record));
    if (status != Status::Paused)
        return fail(ErrorKind::Conflict, cat("cannot resume ", id, ": container not paused but ", to_word(status)));
    return with_context(os::thaw_cgroup(record.cgroup), cat("resume container ", id));
}

Result<std::vector<pid_t>> processes(const StateRoot& root, const std::string& id)
{
    const auto directory = TRY(root.find(id));
    const auto record = TRY(directory.read_state());
    TRY(need_cgroup(record));
    auto pids = TRY(os::processes_in(record.cgroup));
    std::sort(pids.begin(), pids.end());
    return pids;
}

} // namespace coppice::runtime
