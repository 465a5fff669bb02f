#include "scheduling.h"

#include "coppice/base/text.h"

#include <cerrno>
#include <linux/ioprio.h>
#include <sched.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace coppice::runtime {

namespace {

/// struct sched_attr of sched_setattr(2), first version: glibc 2.36 has no name for it.
struct KernelScheduler {
    std::uint32_t size = sizeof(KernelScheduler);
    std::uint32_t policy = 0;
    std::uint64_t flags = 0;
    std::int32_t nice = 0;
    std::uint32_t priority = 0;
    std::uint64_t runtime = 0, deadline = 0, period = 0;
};
static_assert(sizeof(KernelScheduler) == 48);

Result<> set_scheduler(const Scheduler& wanted)
{
    const KernelScheduler attributes{.policy = wanted.policy,
                                     .flags = wanted.flags,
                                     .nice = wanted.nice,
                                     .priority = wanted.priority,
                                     .runtime = wanted.runtime,
                                     .deadline = wanted.deadline,
                                     .period = wanted.period};
    if (::syscall(SYS_sched_setattr, 0, &attributes, 0U) == 0) return {};
    const int number = errno;
    Error error = Error::os(number, "process.scheduler");
    if (number == EPERM)
        error = std::move(error).hint("it needs CAP_SYS_NICE; real-time policies also a real-time budget in the cpu "
                                      "cgroup, and SCHED_DEADLINE all CPUs of the machine");
    return fail(std::move(error));
}

} // namespace

Result<> apply_scheduling(const ProcessSpec& process, const LinuxSpec& spec)
{
    if (process.scheduler) TRY(set_scheduler(*process.scheduler));
    if (process.io_priority && ::syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, *process.io_priority) < 0)
        return fail_os(errno, "process.ioPriority");
    if (spec.personality && ::personality(*spec.personality) < 0) return fail_os(errno, "linux.personality");
    return {};
}

Result<> set_affinity(const CpuMask& cpus, const char* member)
{
    if (cpus.empty()) return {};
    if (::syscall(SYS_sched_setaffinity, 0, cpus.size() * sizeof(unsigned long), cpus.data()) < 0)
        return fail_os(errno, cat("process.execCPUAffinity.", member));
    return {};
}

} // namespace coppice::runtime
