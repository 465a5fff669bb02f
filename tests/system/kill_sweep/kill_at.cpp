// kill_at [--attach PID] [--argv0 NAME | --init] [--before SCRIPT] --report FILE N COMMAND [ARG...]
//
// Runs COMMAND and kills one process by SIGKILL when it enters its Nth system call: COMMAND's own, or the first process
// below it that executes a program under the name NAME. N = 0 only counts. Other processes run on undisturbed. SCRIPT
// is run by sh while that process is held at the call, before it is killed.
//
// With --attach it is the process PID, with all its threads, or one below it: by NAME, or the first process of a pid
// namespace (--init), until that executes what it is for. Then only steps count: calls that change something outside of
// the process. Whoever is killed between two of them leaves the same behind. It is over when COMMAND has ended.
//
// FILE gets one line:
//     killed NUMBER-OF-SYSTEM-CALL | completed CALLS STATUS | never

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <string>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace {

constexpr long kFollow =
    PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE;
constexpr long kWatch = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC; // children of the target are not traced
constexpr long kWatchThreads = kWatch | PTRACE_O_TRACECLONE;

// Calls that change something outside of the process, whatever their arguments.
constexpr std::uint64_t kSteps[] = {SYS_bind,
                                    SYS_chmod,
                                    SYS_chown,
                                    SYS_clone,
                                    SYS_clone3,
                                    SYS_connect,
                                    SYS_copy_file_range,
                                    SYS_execve,
                                    SYS_execveat,
                                    SYS_exit_group,
                                    SYS_fallocate,
                                    SYS_fchmod,
                                    SYS_fchmodat,
                                    SYS_fchown,
                                    SYS_fchownat,
                                    SYS_fdatasync,
                                    SYS_flock,
                                    SYS_fork,
                                    SYS_fremovexattr,
                                    SYS_fsconfig,
                                    SYS_fsetxattr,
                                    SYS_fsmount,
                                    SYS_fsopen,
                                    SYS_fsync,
                                    SYS_ftruncate,
                                    SYS_ioctl,
                                    SYS_kill,
                                    SYS_link,
                                    SYS_linkat,
                                    SYS_listen,
                                    SYS_lsetxattr,
                                    SYS_mkdir,
                                    SYS_mkdirat,
                                    SYS_mknodat,
                                    SYS_mount,
                                    SYS_mount_setattr,
                                    SYS_move_mount,
                                    SYS_open_tree,
                                    SYS_pidfd_send_signal,
                                    SYS_pivot_root,
                                    SYS_pwrite64,
                                    SYS_pwritev,
                                    SYS_rename,
                                    SYS_renameat,
                                    SYS_renameat2,
                                    SYS_rmdir,
                                    SYS_sendfile,
                                    SYS_sendmsg,
                                    SYS_sendto,
                                    SYS_setns,
                                    SYS_setxattr,
                                    SYS_symlink,
                                    SYS_symlinkat,
                                    SYS_sync_file_range,
                                    SYS_syncfs,
                                    SYS_tgkill,
                                    SYS_umount2,
                                    SYS_unlink,
                                    SYS_unlinkat,
                                    SYS_unshare,
                                    SYS_utimensat,
                                    SYS_vfork,
                                    SYS_write,
                                    SYS_writev};

bool is_step(pid_t pid, const __ptrace_syscall_info& call)
{
    const auto& [number, arguments] = call.entry;
    if (number == SYS_openat) return (arguments[2] & O_CREAT) != 0;
    if (number == SYS_openat2) // the flags are the first member of what the third argument points to
        return (::ptrace(PTRACE_PEEKDATA, pid, arguments[2], nullptr) & O_CREAT) != 0;
    return std::find(std::begin(kSteps), std::end(kSteps), number) != std::end(kSteps);
}

std::string first_argument(pid_t pid)
{
    std::ifstream file{"/proc/" + std::to_string(pid) + "/cmdline"};
    std::string word;
    std::getline(file, word, '\0');
    return word.substr(word.find_last_of('/') + 1);
}

/// The numbers in one line of /proc/PID/status.
std::vector<long> status_numbers(pid_t pid, const std::string& key)
{
    std::ifstream file{"/proc/" + std::to_string(pid) + "/status"};
    for (std::string line; std::getline(file, line);) {
        if (!line.starts_with(key + ":")) continue;
        std::istringstream rest{line.substr(key.size() + 1)};
        return {std::istream_iterator<long>{rest}, {}};
    }
    return {};
}

bool is_thread_of(pid_t pid, pid_t process) { return status_numbers(pid, "Tgid") == std::vector<long>{process}; }

bool is_first_of_namespace(pid_t pid)
{
    const auto numbers = status_numbers(pid, "NSpid");
    return numbers.size() > 1 && numbers.back() == 1;
}

int shell_status(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

struct Sweep {
    pid_t root = 0, target = 0;
    std::string name, before;
    bool attached = false, wants_init = false;
    long at = 0, entered = 0;
    bool killed = false;
    long killed_in = -1;
    std::set<pid_t> threads; ///< of the target

    void go_on(pid_t pid, int signal)
    {
        const auto request = threads.contains(pid) ? PTRACE_SYSCALL : PTRACE_CONT;
        ::ptrace(request, pid, nullptr, reinterpret_cast<void*>(static_cast<long>(signal)));
    }

    void found(pid_t pid)
    {
        target = pid;
        threads.insert(pid);
        ::ptrace(PTRACE_SETOPTIONS, pid, nullptr, attached && !wants_init ? kWatchThreads : kWatch);
    }

    /// A process that runs already, with all its threads.
    void seize(pid_t pid)
    {
        const bool is_target = name.empty() && !wants_init;
        for (const auto& task : std::filesystem::directory_iterator{"/proc/" + std::to_string(pid) + "/task"}) {
            const auto thread = static_cast<pid_t>(std::stol(task.path().filename()));
            if (is_target) threads.insert(thread);
            if (::ptrace(PTRACE_SEIZE, thread, nullptr, is_target ? kWatchThreads : kFollow) != 0)
                std::perror("kill_at: seize");
            ::ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr); // calls are seen from its next stop on
        }
        if (is_target) target = pid;
    }

    /// Somebody has made this one.
    void begins(pid_t pid)
    {
        if (target == 0 && wants_init && is_first_of_namespace(pid)) found(pid);
        if (target == 0 || threads.contains(pid)) return go_on(pid, 0);
        if (is_thread_of(pid, target)) {
            threads.insert(pid);
            return go_on(pid, 0);
        }
        ::ptrace(PTRACE_DETACH, pid, nullptr, nullptr);
    }

    void enters(pid_t pid)
    {
        __ptrace_syscall_info info{};
        ::ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info);
        const bool counts = !killed && info.op == PTRACE_SYSCALL_INFO_ENTRY && (!attached || is_step(pid, info));
        if (!counts || ++entered != at) return go_on(pid, 0);
        killed = true;
        killed_in = static_cast<long>(info.entry.nr);
        if (!before.empty() && std::system(before.c_str()) != 0)
            std::fprintf(stderr, "kill_at: failed: %s\n", before.c_str());
        ::kill(target, SIGKILL);
    }

    /// One stop of one process.
    void handle(pid_t pid, int status)
    {
        const int signal = WSTOPSIG(status);
        const int event = status >> 16;
        if (threads.contains(pid) && signal == (SIGTRAP | 0x80)) return enters(pid);
        if (event == PTRACE_EVENT_EXEC) {
            if (pid == target && wants_init) { // from here on it is the instance's own
                threads.clear();
                ::ptrace(PTRACE_DETACH, pid, nullptr, nullptr);
                return;
            }
            if (target == 0 && !name.empty() && first_argument(pid) == name) found(pid);
            go_on(pid, 0);
        } else if (event == PTRACE_EVENT_STOP) {
            begins(pid);
        } else if (event != 0) {
            go_on(pid, 0);
        } else {
            const bool begins = signal == SIGSTOP && pid != target && pid != root;
            go_on(pid, begins || signal == SIGTRAP ? 0 : signal);
        }
    }
};

pid_t start(char** command, bool traced)
{
    const pid_t child = ::fork();
    if (child == 0) {
        if (traced) {
            ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
            ::raise(SIGSTOP);
        }
        ::execvp(command[0], command);
        std::perror(command[0]);
        ::_exit(127);
    }
    return child;
}

} // namespace

int main(int argc, char** argv)
{
    Sweep sweep;
    std::string report;
    pid_t attach = 0;
    int i = 1;
    for (; i + 1 < argc && argv[i][0] == '-'; ++i) {
        const std::string option = argv[i];
        if (option == "--init") {
            sweep.wants_init = true;
            continue;
        }
        const char* const value = argv[++i];
        if (option == "--attach") attach = std::atoi(value);
        if (option == "--argv0") sweep.name = value;
        if (option == "--before") sweep.before = value;
        if (option == "--report") report = value;
    }
    if (report.empty() || i + 1 >= argc) {
        std::fputs("usage: kill_at [--attach PID] [--argv0 NAME | --init] [--before SCRIPT] --report FILE N COMMAND "
                   "[ARG...]\n",
                   stderr);
        return 2;
    }
    sweep.at = std::atol(argv[i]);
    sweep.attached = attach != 0;
    int status = 0;
    if (sweep.attached) sweep.seize(attach);
    const pid_t child = start(argv + i + 1, !sweep.attached);
    if (!sweep.attached) {
        ::waitpid(child, &status, 0);
        sweep.root = child;
        ::ptrace(PTRACE_SETOPTIONS, child, nullptr, sweep.name.empty() ? kWatch : kFollow);
        if (sweep.name.empty()) {
            sweep.target = child;
            sweep.threads.insert(child);
        }
        sweep.go_on(child, 0);
    }

    int root_status = 0, target_status = 0;
    bool target_ended = false;
    for (;;) {
        const pid_t pid = ::waitpid(-1, &status, __WALL);
        if (pid < 0) {
            if (errno == EINTR) continue;
            break; // ECHILD: nobody is left
        }
        if (WIFSTOPPED(status)) {
            sweep.handle(pid, status);
            continue;
        }
        if (pid == sweep.target) {
            target_status = status;
            target_ended = true;
        }
        if (pid == child) {
            root_status = status;
            if (sweep.attached || sweep.target == 0 || sweep.target == child || target_ended) break;
        }
        if (target_ended && WIFEXITED(root_status) && pid == sweep.target && root_status != 0) break;
    }
    // Whom we traced and did not kill goes on by itself when we end.
    std::ofstream out{report};
    if (sweep.target == 0)
        out << "never\n";
    else if (sweep.killed)
        out << "killed " << sweep.killed_in << "\n";
    else
        out << "completed " << sweep.entered << ' ' << shell_status(sweep.attached ? root_status : target_status)
            << "\n";
    out.close();
    return shell_status(root_status);
}
