#pragma once

#include "faults.h"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <sys/socket.h>
#include <sys/wait.h>
#include <type_traits>
#include <unistd.h>

namespace coppice::test::faults {

/// Runs `body(say)` in a process of its own, which it arms against itself (Kind::Kill), and puts what that said last
/// into `said`, which stays as it is when nothing was said.
/// @returns whether it was killed by that; false: `body` came to its end
template <typename Said, typename Body> bool run_in_child(Said& said, Body body)
{
    static_assert(std::is_trivially_copyable_v<Said>);
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) std::abort();
    const pid_t child = ::fork();
    if (child < 0) std::abort();
    if (child == 0) {
        try {
            body([&](const Said& now) { (void)::send(ends[1], &now, sizeof now, 0); }); // not write(2): it is counted
        } catch (const std::exception& error) {
            std::fprintf(stderr, "%s\n", error.what());
        }
        ::_exit(0);
    }
    ::close(ends[1]);
    Said heard = said;
    while (::read(ends[0], &heard, sizeof heard) == sizeof heard)
        said = heard;
    ::close(ends[0]);
    int status = 0;
    if (::waitpid(child, &status, 0) != child) std::abort();
    return WIFEXITED(status) && WEXITSTATUS(status) == kKilledStatus;
}

} // namespace coppice::test::faults
