#include "coppice/os/user_namespace.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/mount.h"
#include "coppice/os/namespace.h"
#include "coppice/os/process.h"

#include <array>
#include <cerrno>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

namespace coppice::os {

namespace {

constexpr ino_t kInitialUserNamespace = 0xEFFFFFFD; // PROC_USER_INIT_INO; the same on every Linux since 3.8

} // namespace

bool is_host_root()
{
    if (::geteuid() != 0) return false;
    struct stat status{};
    return ::stat("/proc/self/ns/user", &status) == 0 && status.st_ino == kInitialUserNamespace;
}

bool are_groups_fixed()
{
    const auto word = read_file(kCwd, "/proc/self/setgroups", 16);
    return word && word->starts_with("deny");
}

Result<> become_root()
{
    if (::setresgid(0, 0, 0) < 0 || ::setresuid(0, 0, 0) < 0)
        return fail_os(errno, "become root of the user namespace");
    return {};
}

Result<> become_root_of_new_namespaces(const UserMapping& mapping)
{
    // Maps beyond one's own id are written from outside, so somebody has to stay there: a child, until it has done it.
    std::array<int, 2> ends{-1, -1};
    if (::pipe2(ends.data(), O_CLOEXEC) < 0) return fail_os(errno, "create a pipe");
    Fd reading{ends[0]};
    Fd writing{ends[1]};
    std::array<int, 2> answers{-1, -1};
    if (::pipe2(answers.data(), O_CLOEXEC) < 0) return fail_os(errno, "create a pipe");
    Fd answer{answers[0]};
    Fd answering{answers[1]};
    const pid_t own = ::getpid();
    auto mapper = TRY(fork_process({}, [&] {
        writing.reset();
        char word = 0;
        if (retry_eintr([&] { return ::read(reading.get(), &word, 1); }) != 1) return 1;
        const auto mapped = write_id_maps(own, mapping);
        if (mapped) return 0;
        [[maybe_unused]] const auto told = write_all(answering.get(), encode(mapped.error()), "the error");
        return 1;
    }));
    answering.reset();
    if (::unshare(CLONE_NEWUSER) < 0) {
        const int number = errno;
        return fail(Error::os(number, "make a user namespace")
                        .hint("this host may forbid it to ordinary users: see sysctl user.max_user_namespaces and "
                              "kernel.unprivileged_userns_clone"));
    }
    TRY(write_all(writing.get(), "g", "a pipe"));
    if (TRY(mapper.wait()).code != 0) {
        const auto said = TRY(read_all(answer, 1U << 16, "the error"));
        if (said.empty()) return fail(ErrorKind::Unavailable, "the ids of a user namespace could not be mapped");
        return fail(decode_error(said));
    }
    TRY(become_root());
    TRY(leave_namespaces(CLONE_NEWNS));
    return set_mount_propagation(kCwd, "/", MS_SLAVE, true);
}

Result<> become_root_of(const Fd& user_namespace)
{
    TRY(enter_namespace(user_namespace, CLONE_NEWUSER));
    return become_root();
}

} // namespace coppice::os
