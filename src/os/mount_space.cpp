#include "coppice/os/mount_space.h"

#include "coppice/os/file.h"
#include "coppice/os/mount.h"
#include "coppice/os/namespace.h"

#include <sched.h>
#include <sys/mount.h>
#include <thread>

namespace coppice::os {

namespace {

/// On a thread of its own, because root, working directory and mount namespace belong to a thread once it has left
/// those of the others. Source: unshare(2), CLONE_FS; setns(2), CLONE_NEWNS
Result<> on_own_thread(const std::function<Result<>()>& body)
{
    Result<> done;
    std::thread thread{[&] { done = body(); }};
    thread.join();
    return done;
}

Result<Fd> make_inside(const Fd& base)
{
    TRY(leave_namespaces(CLONE_NEWNS));
    auto ns = TRY(open_at(kCwd, "/proc/thread-self/ns/mnt", O_RDONLY));
    TRY(set_mount_propagation(kCwd, "/", MS_PRIVATE, true));
    const auto root = TRY(new_file_system("tmpfs", {{"size", "4m"}, {"mode", "0700"}}, mount_attr::kNoDev));
    TRY(attach_mount(root.get(), kCwd, "/"));
    TRY(make_directory(root.get(), "base", 0700));
    TRY(attach_mount(base.get(), root.get(), "base"));
    TRY(change_root(root.get())); // the machine's mounts go: those here must not keep a disk busy
    return ns;
}

} // namespace

Result<MountSpace> MountSpace::make(int directory)
{
    const auto base = TRY(clone_mount(directory, "", false));
    Fd ns;
    TRY_DOING("private mount namespace", on_own_thread([&]() -> Result<> {
                  ns = TRY(make_inside(base));
                  return {};
              }));
    return MountSpace{std::move(ns)};
}

Result<> MountSpace::run(const std::function<Result<>()>& body) const { return run_in_mount_namespace(ns_, body); }

Result<> run_in_mount_namespace(const Fd& ns, const std::function<Result<>()>& body)
{
    return on_own_thread([&]() -> Result<> {
        TRY(leave_namespaces(CLONE_FS)); // setns refuses a thread that shares its root with others
        TRY(enter_namespace(ns, CLONE_NEWNS));
        return body();
    });
}

} // namespace coppice::os
