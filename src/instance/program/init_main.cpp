// coppice-init: process 1 of an instance with --init. Runs one command, hands signals on to it, takes dead children
// away that nobody else waits for, and ends with its status. A program of its own, because it is there as long as the
// instance and uses next to no memory.

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <sys/wait.h>
#include <unistd.h>

namespace {

/// All that somebody may send; not what a mistake of our own would raise.
sigset_t signals_to_hand_on()
{
    sigset_t all;
    ::sigfillset(&all);
    for (const int own : {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGABRT, SIGTRAP, SIGSYS, SIGTTIN, SIGTTOU})
        ::sigdelset(&all, own);
    return all;
}

[[noreturn]] void become(char** command, const sigset_t& mask)
{
    // A process group of its own in the foreground: what is typed (Ctrl-C) reaches it once, and not by us again.
    ::setpgid(0, 0);
    ::tcsetpgrp(STDIN_FILENO, ::getpid());
    for (const int signal : {SIGTTIN, SIGTTOU})
        ::signal(signal, SIG_DFL);
    ::sigprocmask(SIG_SETMASK, &mask, nullptr);
    ::execvp(command[0], command);
    std::fprintf(stderr, "coppice-init: %s: %s\n", command[0], std::strerror(errno));
    ::_exit(errno == ENOENT ? 127 : 126);
}

int status_of(int status) { return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status); }

/// @returns whether `child` was among the dead; its status is then in `status`
bool reap(pid_t child, int& status)
{
    bool ended = false;
    int one = 0;
    for (pid_t pid; (pid = ::waitpid(-1, &one, WNOHANG)) > 0;) {
        if (pid != child) continue;
        ended = true;
        status = status_of(one);
    }
    return ended;
}

} // namespace

int main(int count, char** arguments)
{
    if (count < 2) {
        std::fputs("coppice-init: no command; used by: coppice run --init\n", stderr);
        return 2;
    }
    const sigset_t handed_on = signals_to_hand_on();
    sigset_t before;
    ::sigprocmask(SIG_BLOCK, &handed_on, &before);
    for (const int signal : {SIGTTIN, SIGTTOU}) // the terminal is the command's, we are in the background
        ::signal(signal, SIG_IGN);
    const pid_t child = ::fork();
    if (child < 0) {
        std::fprintf(stderr, "coppice-init: fork: %s\n", std::strerror(errno));
        return 125;
    }
    if (child == 0) become(arguments + 1, before);
    for (int status = 0;;) {
        const int signal = ::sigwaitinfo(&handed_on, nullptr);
        if (signal == SIGCHLD) {
            if (reap(child, status)) return status;
        } else if (signal > 0) {
            ::kill(child, signal);
        }
    }
}
