// Where a program begins that protects its own file (see executable.h): before the C library.
//
// A program that executes itself again begins twice, and a beginning is dear: the C library asks the processor for its
// features with some twenty CPUID instructions, each of which is an exit to the hypervisor in a virtual machine (13 us
// measured, 0.3 ms together). So the first beginning does what protect_own_executable() does in the ordinary case, with
// bare system calls, and nothing else. Whatever fails here happens again there, with an error message: it decides.
//
// Nothing of the C library works yet: no call of it, no errno, no stack protector (see ../CMakeLists.txt).

#include "coppice/os/syscalls.h"

#include <fcntl.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>

namespace {

long system_call(long number, long first, long second, long third = 0, long fourth = 0, long fifth = 0)
{
    register long r10 asm("r10") = fourth;
    register long r8 asm("r8") = fifth;
    long result = number;
    asm volatile("syscall"
                 : "+a"(result)
                 : "D"(first), "S"(second), "d"(third), "r"(r10), "r"(r8)
                 : "rcx", "r11", "memory");
    return result;
}

template <typename T> long address(T* object) { return reinterpret_cast<long>(object); }

bool equal(const char* left, const char* right)
{
    while (*left == *right && *left != '\0') {
        ++left;
        ++right;
    }
    return *left == *right;
}

/// Whether a word of the command line names a command that enters containers. One too many costs an execve.
bool may_enter_container(const char* const* argv)
{
    for (; *argv != nullptr; ++argv)
        if (equal(*argv, "create") || equal(*argv, "run") || equal(*argv, "exec")) return true;
    return false;
}

void execute_from_read_only_mount(int own, const char* const* argv, const char* const* envp)
{
    using namespace coppice::os;
    struct statfs status;
    if (system_call(SYS_fstatfs, own, address(&status)) < 0 || (status.f_flags & ST_RDONLY) != 0) return;
    const long mount = system_call(sys::kOpenTree, own, address(""), sys::kOpenTreeClone | O_CLOEXEC | AT_EMPTY_PATH);
    if (mount < 0) return;
    const sys::MountAttr read_only{.set = ST_RDONLY}; // MOUNT_ATTR_RDONLY has the same value
    if (system_call(sys::kMountSetattr, mount, address(""), AT_EMPTY_PATH, address(&read_only), sizeof read_only) >= 0)
        system_call(SYS_execveat, mount, address(""), address(argv), address(envp), AT_EMPTY_PATH);
    system_call(SYS_close, mount, 0);
}

} // namespace

/// @param stack as the kernel leaves it: the number of arguments, they, a null pointer, the environment
extern "C" void coppice_protect_early(long* stack)
{
    const auto* const argv = reinterpret_cast<const char* const*>(stack + 1);
    if (!may_enter_container(argv)) return;
    const long own = system_call(SYS_openat, AT_FDCWD, address("/proc/self/exe"), O_PATH | O_CLOEXEC);
    if (own < 0) return;
    execute_from_read_only_mount(static_cast<int>(own), argv, argv + stack[0] + 1);
    system_call(SYS_close, own, 0);
}

asm(R"(
    .text
    .globl coppice_entry
    .type coppice_entry, @function
coppice_entry:
    mov %rdx, %rbx
    mov %rsp, %rdi
    call coppice_protect_early
    mov %rbx, %rdx
    jmp _start
    .size coppice_entry, . - coppice_entry
)");
