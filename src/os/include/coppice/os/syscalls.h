#pragma once

/// Raw system calls that glibc 2.36 lacks or whose constants differ between the C library's and the kernel's headers,
/// in one place. Each is the bare call: result or -1 with errno. Sources: the man page of the same name.

#include <cstdint>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace coppice::os::sys {

// The numbers below are the same on every architecture since Linux 5.0 (asm-generic/unistd.h).
inline constexpr long kOpenTree = 428, kMoveMount = 429, kFsopen = 430, kFsconfig = 431, kFsmount = 432,
                      kPidfdSendSignal = 424, kFspick = 433, kPidfdGetfd = 438, kPidfdOpen = 434, kClone3 = 435,
                      kCloseRange = 436, kOpenat2 = 437, kMountSetattr = 442;

inline constexpr unsigned kCloseRangeCloexec = 1U << 2;
inline int close_range(unsigned first, unsigned last, unsigned flags)
{
    return static_cast<int>(::syscall(kCloseRange, first, last, flags));
}

// --- openat2(2)
struct OpenHow {
    std::uint64_t flags = 0, mode = 0, resolve = 0;
};
inline constexpr std::uint64_t kResolveNoXdev = 0x01, kResolveNoMagiclinks = 0x02, kResolveNoSymlinks = 0x04,
                               kResolveBeneath = 0x08, kResolveInRoot = 0x10;
inline int openat2(int dir, const char* path, const OpenHow& how)
{
    return static_cast<int>(::syscall(kOpenat2, dir, path, &how, sizeof how));
}

// --- the mount API: fsopen(2), fsconfig(2), fsmount(2), open_tree(2), move_mount(2), mount_setattr(2)
inline constexpr unsigned kFsopenCloexec = 1, kFsmountCloexec = 1, kOpenTreeClone = 1, kAtRecursive = 0x8000;
enum class FsconfigCommand : unsigned { SetFlag = 0, SetString = 1, SetFd = 5, Create = 6, Reconfigure = 7 };
inline constexpr unsigned kMoveMountFromEmptyPath = 0x04, kMoveMountToEmptyPath = 0x40, kMoveMountBeneath = 0x200;
struct MountAttr {
    std::uint64_t set = 0, clear = 0, propagation = 0, userns_fd = 0;
};
inline int fsopen(const char* type) { return static_cast<int>(::syscall(kFsopen, type, kFsopenCloexec)); }
inline int fsconfig(int fs, FsconfigCommand command, const char* key, const void* value, int aux)
{
    return static_cast<int>(::syscall(kFsconfig, fs, static_cast<unsigned>(command), key, value, aux));
}
inline int fspick(int dir) // the mount whose root `dir` is open on
{
    constexpr unsigned kFspickCloexec = 1, kFspickEmptyPath = 8;
    return static_cast<int>(::syscall(kFspick, dir, "", kFspickCloexec | kFspickEmptyPath));
}
inline int fsmount(int fs, std::uint64_t attributes)
{
    return static_cast<int>(::syscall(kFsmount, fs, kFsmountCloexec, static_cast<unsigned>(attributes)));
}
inline int open_tree(int dir, const char* path, unsigned flags)
{
    return static_cast<int>(::syscall(kOpenTree, dir, path, flags));
}
inline int move_mount(int from_dir, const char* from, int to_dir, const char* to, unsigned flags)
{
    return static_cast<int>(::syscall(kMoveMount, from_dir, from, to_dir, to, flags));
}
inline int mount_setattr(int dir, const char* path, unsigned flags, const MountAttr& attr)
{
    return static_cast<int>(::syscall(kMountSetattr, dir, path, flags, &attr, sizeof attr));
}
inline int pivot_root(const char* new_root, const char* put_old)
{
    return static_cast<int>(::syscall(SYS_pivot_root, new_root, put_old));
}

// --- processes: clone3(2), pidfd_open(2), pidfd_send_signal(2)
struct CloneArgs { // struct clone_args, through Linux 5.7's `cgroup`
    std::uint64_t flags = 0, pidfd = 0, child_tid = 0, parent_tid = 0, exit_signal = 0, stack = 0, stack_size = 0,
                  tls = 0, set_tid = 0, set_tid_size = 0, cgroup = 0;
};
inline constexpr std::uint64_t kClonePidfd = 0x1000, kCloneParent = 0x8000, kCloneIntoCgroup = 0x200000000ULL;
inline constexpr std::uint64_t kCloneNewTime = 0x80, kCloneNewCgroup = 0x02000000;
inline long clone3(const CloneArgs& args) { return ::syscall(kClone3, &args, sizeof args); }
inline int pidfd_open(pid_t pid) { return static_cast<int>(::syscall(kPidfdOpen, pid, 0)); }
inline int pidfd_getfd(int pidfd, int fd) { return static_cast<int>(::syscall(kPidfdGetfd, pidfd, fd, 0)); }
inline int pidfd_send_signal(int pidfd, int signal)
{
    return static_cast<int>(::syscall(kPidfdSendSignal, pidfd, signal, nullptr, 0));
}

} // namespace coppice::os::sys
