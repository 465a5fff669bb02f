#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/os/file.h"
#include "coppice/os/unix_socket.h"
#include "coppice/runtime/container.h"
#include "hooks.h"
#include "resctrl.h"
#include "scope.h"

#include <cerrno>
#include <csignal>
#include <unistd.h>

namespace coppice::runtime {

namespace {

constexpr int kPatienceMs = 10'000;

Result<> kill_init(const StateRecord& record)
{
    const auto init = TRY(os::ProcessRef::find(record.pid, record.start_time));
    if (!init) return {};
    if (auto sent = init->send(SIGKILL); !sent && sent.error().os_errno() != ESRCH) return sent;
    if (!TRY(init->wait_gone(kPatienceMs)))
        return fail(ErrorKind::Conflict, cat("process ", record.pid, " of container ", record.id, " does not die"));
    return {};
}

/// Takes a container away. Whoever must die is killed before the first error is told.
Result<> undo(const StateRoot& root, const StateRecord& record)
{
    log::debug("delete", "removing container", {{"container", record.id}, {"cgroup", record.cgroup.v2}});
    auto killed = os::kill_cgroup(record.cgroup);
    if (record.pid > 0) TRY(kill_init(record));
    TRY(std::move(killed));
    TRY(stop_scope(record));
    TRY(os::remove_cgroup(record.cgroup));
    TRY(remove_resctrl_group(record.resctrl));
    return root.remove(record.id);
}

/// A container whose state cannot be read: its configuration still says in which cgroup it is.
Result<> remove_unreadable(const StateRoot& root, const ContainerDirectory& directory)
{
    const auto config = directory.read_config();
    const auto spec = config ? parse_spec(*config) : Result<Spec>{std::unexpect, config.error()};
    if (!spec) return root.remove(directory.id()); // nothing tells of a process or a cgroup
    const std::string& path = spec->linux_part.cgroups_path;
    if (path.find(':') != std::string::npos)
        return fail(Error{ErrorKind::Corrupt, cat("the state of container ", directory.id(), " cannot be read")}.hint(
            cat("end its systemd scope ", path, " and remove its directory in ", root.path())));
    StateRecord record;
    record.id = directory.id();
    record.cgroup = TRY(os::plan_cgroup(TRY(os::CgroupLayout::detect()),
                                        path.empty() ? cat("coppice/", directory.id()) : path, {}, true));
    return undo(root, record);
}

} // namespace

Result<> discard(const StateRoot& root, const StateRecord& record)
{
    TRY(root.remove_unfinished(record));
    const auto directory = root.find(record.id);
    if (!directory) {
        if (directory.error().kind() == ErrorKind::NotFound) return {};
        return fail(directory.error());
    }
    const auto current = directory->read_state();
    if (!current && current.error().kind() != ErrorKind::NotFound) return fail(current.error());
    if (current && current->nonce != record.nonce) return {};           // the id was taken: that is another container
    return undo(root, current && current->pid > 0 ? *current : record); // the later one knows more
}

Result<> kill(const StateRoot& root, const std::string& id, int signal, bool all)
{
    const auto directory = TRY(root.find(id));
    const auto record = TRY(directory.read_state());
    const auto init = TRY(os::ProcessRef::find(record.pid, record.start_time));
    if (!record.complete || (!init && !all)) return fail(ErrorKind::Conflict, cat("container not running: ", id));
    if (!all) {
        TRY(init->send(signal));
        // A frozen process dies of it on v2; the freezer of v1 has to let it go for that.
        if (signal == SIGKILL && record.cgroup.v2.empty() && TRY(os::is_frozen(record.cgroup)))
            return os::thaw_cgroup(record.cgroup);
        return {};
    }
    if (record.cgroup.empty()) { // nothing tells who belongs to it
        if (!init) return fail(ErrorKind::Conflict, cat("container not running: ", id));
        return init->send(signal);
    }
    if (signal == SIGKILL) return os::kill_cgroup(record.cgroup);
    return os::signal_processes(record.cgroup, signal);
}

namespace {

/// @return what somebody else is doing with the container at this moment; nullptr when it is gone
Result<const char*> try_to_remove(const StateRoot& root, const std::string& id, bool force)
{
    if (force) TRY(root.remove_unfinished_of(id));
    const auto directory = root.find(id);
    if (!directory) {
        if (force && directory.error().kind() == ErrorKind::NotFound) return nullptr;
        return fail(directory.error());
    }
    const auto record = directory->read_state();
    if (!record) {
        if (!force) return fail(record.error());
        TRY(remove_unreadable(root, *directory));
        return nullptr;
    }
    const auto status = TRY(status_of(*directory, *record));
    if (status == Status::Creating) return "created";
    if ((status == Status::Running || status == Status::Paused) && !force)
        return fail(
            Error{ErrorKind::Conflict, cat("cannot delete container ", id, " that is not stopped: ", to_word(status))}
                .hint("stop it first or use --force"));
    // One at a time, or the second would take a new container of this id for the old one.
    const auto lock = os::FileLock::try_take(directory->fd().get(), kLockFile);
    if (!lock && lock.error().kind() == ErrorKind::NotFound) return nullptr; // another delete was faster
    if (!lock) return fail(lock.error());
    if (!*lock) return "deleted";
    const auto config = directory->read_config();
    TRY(discard(root, *record));
    if (!config || config->find("\"poststop\"") == std::string::npos) return nullptr;
    const auto spec = TRY(parse_spec(*config));
    run_late_hooks(spec.hooks.poststop, "poststop", to_state_json(*record, Status::Stopped, false));
    return nullptr;
}

} // namespace

Result<> remove(const StateRoot& root, const std::string& id, bool force)
{
    // By force means that it is gone afterwards: another deletion, or the guard of a killed creation, is waited for.
    constexpr int kPauseMs = 5;
    for (int waited = 0;; waited += kPauseMs) {
        const char* const being = TRY(try_to_remove(root, id, force));
        if (being == nullptr) return {};
        if (!force || waited > kPatienceMs)
            return fail(
                Error{ErrorKind::Conflict, cat("container ", id, " is being ", being)}.hint("wait for it to finish"));
        sleep_ms(kPauseMs);
    }
}

} // namespace coppice::runtime
