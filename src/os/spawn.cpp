#include "coppice/os/spawn.h"

#include "coppice/base/environment.h"
#include "coppice/base/text.h"
#include "coppice/os/file.h"

#include <csignal>
#include <fcntl.h>
#include <memory>
#include <spawn.h>
#include <unistd.h>

namespace coppice::os {

namespace {

std::vector<char*> pointers_to(std::vector<std::string>& texts)
{
    std::vector<char*> pointers;
    for (std::string& text : texts)
        pointers.push_back(text.data());
    pointers.push_back(nullptr);
    return pointers;
}

} // namespace

Result<Process> spawn(const SpawnOptions& options)
{
    std::vector<std::string> arguments = options.arguments;
    COPPICE_CHECK(!arguments.empty());
    std::vector<std::string> environment;
    for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable)
        environment.emplace_back(*variable);
    for (const std::string& variable : options.more_variables)
        set_variable(environment, variable);

    // Copies above 3, so that none is overwritten before its turn.
    std::vector<Fd> copies;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    COPPICE_CHECK(::posix_spawn_file_actions_init(&actions) == 0 && ::posix_spawnattr_init(&attributes) == 0);
    const std::unique_ptr<posix_spawn_file_actions_t, int (*)(posix_spawn_file_actions_t*)> actions_guard{
        &actions, &::posix_spawn_file_actions_destroy};
    const std::unique_ptr<posix_spawnattr_t, int (*)(posix_spawnattr_t*)> attributes_guard{&attributes,
                                                                                           &::posix_spawnattr_destroy};
    const int wanted[] = {options.input, options.output, options.error, options.further};
    for (int number = 0; number < 4; ++number) {
        if (wanted[number] < 0 && number == 3) continue;
        Fd from = wanted[number] < 0 ? TRY(open_at(kCwd, "/dev/null", O_RDWR)) : Fd{};
        const int copy = ::fcntl(wanted[number] < 0 ? from.get() : wanted[number], F_DUPFD_CLOEXEC, 4);
        if (copy < 0) return fail_os(errno, "duplicate a descriptor");
        copies.emplace_back(copy);
        ::posix_spawn_file_actions_adddup2(&actions, copy, number);
    }
    // Not all that a library opens is closed by itself: a connection that a child has open, too, never ends.
    ::posix_spawn_file_actions_addclosefrom_np(&actions, options.further < 0 ? 3 : 4);
    sigset_t none, all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setsigdefault(&attributes, &all);
    ::posix_spawnattr_setpgroup(&attributes, 0);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);

    pid_t pid = -1;
    auto words = pointers_to(arguments), variables = pointers_to(environment);
    const int number = ::posix_spawnp(&pid, words[0], &actions, &attributes, words.data(), variables.data());
    if (number != 0) return fail_os(number, cat("start ", printable(arguments[0])));
    Process process{pid, Fd{}}; // kills and reaps it when there is no descriptor
    auto pidfd = TRY(open_process(pid));
    COPPICE_CHECK(pidfd.has_value()); // it is our child and not reaped
    process.detach();
    return Process{pid, *std::move(pidfd)};
}

void end_group(const Process& leader, int signal)
{
    if (leader.pid() > 0) (void)::kill(-leader.pid(), signal);
}

} // namespace coppice::os
