#include "coppice/instance/visit.h"

#include "coppice/base/text.h"
#include "coppice/instance/look.h"
#include "coppice/os/capability.h"
#include "coppice/os/file.h"
#include "coppice/os/namespace.h"
#include "coppice/os/user_namespace.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <grp.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

namespace coppice::instance {

namespace {

/// What root needs for files. It has all capabilities in the namespace that it has just entered.
Result<> keep_rights_over_files()
{
    os::CapabilityMask mask = 0;
    for (const char* const name : {"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID"})
        mask |= os::find_capability(name);
    return os::set_capabilities(
        {.bounding = mask, .effective = mask, .permitted = mask, .inheritable = 0, .ambient = 0});
}

Result<> enter(const os::ProcessRef& init)
{
    if (::setgroups(0, nullptr) < 0) return fail_os(errno, "give up groups");
    TRY(os::enter_namespaces_of(init.pidfd(), CLONE_NEWUSER | CLONE_NEWNS));
    TRY(os::become_root());
    TRY(keep_rights_over_files());
    TRY(os::die_with_parent(SIGKILL));
    ::umask(0);
    return {};
}

} // namespace

Result<Visit> Visit::begin(const InstanceStore& store, const std::string& name, std::vector<int> keep,
                           const std::function<Result<>()>& body)
{
    TRY(running_record(store, name));
    const auto init = find_init(store, name);
    if (!init) return fail(ErrorKind::Conflict, cat("instance ", name, " has just ended"));
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) < 0) return fail_os(errno, "make a pipe");
    os::Fd answer{ends[0]};
    const os::Fd told{ends[1]};
    keep.push_back(told.get());
    keep.push_back(init->pidfd().get());
    auto child = TRY(os::fork_process({}, [&] {
        auto done = os::close_all_but(3, std::move(keep));
        if (done) done = with_context(enter(*init), cat("enter ", name));
        if (done) done = body();
        if (done) return 0;
        [[maybe_unused]] const auto written = os::write_all(told.get(), encode(done.error()), "the error");
        return 1;
    }));
    return Visit{std::move(child), std::move(answer)};
}

Result<> Visit::finish()
{
    constexpr std::size_t kMostBytes = 1U << 16;
    const auto said = TRY(os::read_all(answer_, kMostBytes, "the error"));
    const auto end = TRY(child_.wait());
    if (!said.empty()) return fail(decode_error(said));
    if (end.code != 0) return fail(ErrorKind::Gone, cat("the copying process ended with status ", end.code));
    return {};
}

} // namespace coppice::instance
