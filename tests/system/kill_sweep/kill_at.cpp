// kill_at [--argv0 NAME] [--before SCRIPT] --report FILE N COMMAND [ARG...]
//
// Runs COMMAND and kills one of its processes by SIGKILL when it enters its Nth system call: COMMAND's own, or the
// first process below it that executes a program under the name NAME. N = 0 only counts. Other processes run on
// undisturbed. SCRIPT is run by sh while that process is held at the call, before it is killed. FILE gets one line:
//     killed NUMBER-OF-SYSTEM-CALL | completed CALLS STATUS | never

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>
#include <string>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

constexpr long kFollow =
    PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE;
constexpr long kWatch = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC; // children of the target are not traced

std::string first_argument(pid_t pid)
{
    std::ifstream file{"/proc/" + std::to_string(pid) + "/cmdline"};
    std::string word;
    std::getline(file, word, '\0');
    return word.substr(word.find_last_of('/') + 1);
}

int shell_status(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

struct Sweep {
    pid_t root = 0, target = 0;
    std::string name, before;
    long at = 0, entered = 0;
    bool killed = false;
    long killed_in = -1;
    std::set<pid_t> followed;

    void go_on(pid_t pid, int signal)
    {
        const auto request = pid == target ? PTRACE_SYSCALL : PTRACE_CONT;
        ::ptrace(request, pid, nullptr, reinterpret_cast<void*>(static_cast<long>(signal)));
    }

    void found(pid_t pid)
    {
        target = pid;
        ::ptrace(PTRACE_SETOPTIONS, pid, nullptr, kWatch);
    }

    /// One stop of one process.
    void handle(pid_t pid, int status)
    {
        const int signal = WSTOPSIG(status);
        const int event = status >> 16;
        if (pid == target && signal == (SIGTRAP | 0x80)) {
            __ptrace_syscall_info info{};
            ::ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info);
            if (info.op == PTRACE_SYSCALL_INFO_ENTRY && ++entered == at) {
                killed = true;
                killed_in = static_cast<long>(info.entry.nr);
                if (!before.empty() && std::system(before.c_str()) != 0)
                    std::fprintf(stderr, "kill_at: failed: %s\n", before.c_str());
                ::kill(pid, SIGKILL);
                return;
            }
            go_on(pid, 0);
            return;
        }
        if (event == PTRACE_EVENT_EXEC) {
            if (target == 0 && first_argument(pid) == name) found(pid);
            go_on(pid, 0);
        } else if (event != 0) {
            unsigned long child = 0;
            ::ptrace(PTRACE_GETEVENTMSG, pid, nullptr, &child);
            followed.insert(static_cast<pid_t>(child));
            go_on(pid, 0);
        } else {
            const bool begins = signal == SIGSTOP && pid != target && pid != root;
            go_on(pid, begins || signal == SIGTRAP ? 0 : signal);
        }
    }
};

} // namespace

int main(int argc, char** argv)
{
    Sweep sweep;
    std::string report;
    int i = 1;
    for (; i + 1 < argc && argv[i][0] == '-'; i += 2) {
        if (std::strcmp(argv[i], "--argv0") == 0) sweep.name = argv[i + 1];
        if (std::strcmp(argv[i], "--before") == 0) sweep.before = argv[i + 1];
        if (std::strcmp(argv[i], "--report") == 0) report = argv[i + 1];
    }
    if (report.empty() || i + 1 >= argc) {
        std::fputs("usage: kill_at [--argv0 NAME] [--before SCRIPT] --report FILE N COMMAND [ARG...]\n", stderr);
        return 2;
    }
    sweep.at = std::atol(argv[i]);
    const pid_t child = ::fork();
    if (child == 0) {
        ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
        ::raise(SIGSTOP);
        ::execvp(argv[i + 1], argv + i + 1);
        std::perror(argv[i + 1]);
        ::_exit(127);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    sweep.root = child;
    ::ptrace(PTRACE_SETOPTIONS, child, nullptr, sweep.name.empty() ? kWatch : kFollow);
    if (sweep.name.empty()) sweep.target = child;
    sweep.go_on(child, 0);

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
            if (sweep.target == 0 || sweep.target == child || target_ended) break;
        }
        if (target_ended && WIFEXITED(root_status) && pid == sweep.target && root_status != 0) break;
    }
    std::ofstream out{report};
    if (sweep.target == 0)
        out << "never\n";
    else if (sweep.killed)
        out << "killed " << sweep.killed_in << "\n";
    else
        out << "completed " << sweep.entered << ' ' << shell_status(target_status) << "\n";
    out.close();
    return shell_status(root_status);
}
