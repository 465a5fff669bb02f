#include "cgroup_files.h"
#include "coppice/base/text.h"
#include "coppice/os/cgroup_stats.h"
#include "coppice/os/file.h"

#include <array>
#include <cerrno>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

namespace coppice::os {

using namespace cgroup_files;

namespace {

constexpr const char* kNone = "this container's memory is not counted";

} // namespace

Result<OomWatch> OomWatch::open(const CgroupPaths& paths)
{
    OomWatch watch;
    watch.directory_ = directory_of(paths, "memory");
    watch.v2_ = paths.v1.empty();
    if (watch.directory_.empty()) return fail(ErrorKind::Unsupported, kNone);
    if (watch.v2_) {
        const std::string file = watch.directory_ + "/memory.events";
        watch.fd_ = Fd{::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)};
        if (!watch.fd_.is_open()) return fail_os(errno, "watch for a lack of memory");
        if (::inotify_add_watch(watch.fd_.get(), file.c_str(), IN_MODIFY) < 0) {
            if (errno == ENOENT) return fail(ErrorKind::Unsupported, kNone);
            return fail_os(errno, cat("watch ", file));
        }
        watch.known_kills_ = keyed_number(file, "oom_kill").value_or(0);
        return watch;
    }
    // The kernel counts into the eventfd while it and the control file are open. Source: cgroup-v1/memory.rst, 9
    watch.fd_ = Fd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (!watch.fd_.is_open()) return fail_os(errno, "watch for a lack of memory");
    watch.control_ = TRY(open_at(kCwd, watch.directory_ + "/memory.oom_control", O_RDONLY));
    TRY_DOING("watch for a lack of memory", write_control(kCwd, watch.directory_ + "/cgroup.event_control",
                                                          cat(watch.fd_.get(), ' ', watch.control_.get())));
    return watch;
}

Result<std::uint64_t> OomWatch::happened()
{
    if (v2_) {
        alignas(inotify_event) std::array<char, 4096> events;
        while (::read(fd_.get(), events.data(), events.size()) > 0) { // what counts is the number in the file
        }
        const auto kills = keyed_number(directory_ + "/memory.events", "oom_kill");
        if (!kills || *kills <= known_kills_) return 0U;
        return *kills - std::exchange(known_kills_, *kills);
    }
    std::uint64_t times = 0;
    if (::read(fd_.get(), &times, sizeof times) < 0) {
        if (errno == EAGAIN) return 0U;
        return fail_os(errno, "watch for a lack of memory");
    }
    return exists(kCwd, directory_ + "/memory.oom_control") ? times : 0U; // the end of the cgroup is told as well
}

} // namespace coppice::os
