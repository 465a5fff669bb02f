#include "coppice/os/cgroup.h"
#include "coppice/os/fd.h"
#include "coppice/os/file.h"
#include "coppice/test/temp_dir.h"
#include "own_mounts.h"

#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

namespace coppice::test {

namespace {

constexpr int kSkipped = 77; // ctest's SKIP_RETURN_CODE

std::string& problem()
{
    static std::string text = "the program has not tried to get mounts of its own";
    return text;
}

void remove_left_directories(const std::string& prefix)
{
    const char* const chosen = std::getenv("COPPICE_TEST_DIR");
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator{chosen == nullptr ? "/var/tmp" : chosen, ignored})
        if (entry.path().filename().string().starts_with(prefix)) std::filesystem::remove_all(entry.path(), ignored);
}

void remove_left_cgroups(const std::string& prefix)
{
    const auto layout = os::CgroupLayout::detect();
    if (!layout) return;
    std::vector<std::string> directories{layout->v2_directory("/" + prefix)};
    for (const char* const controller : {"memory", "cpu", "pids", "cpuset", "devices"})
        directories.push_back(layout->v1_directory(controller, "/" + prefix));
    for (const std::string& directory : directories) {
        if (directory.empty() || !os::exists(os::kCwd, directory)) continue;
        const os::CgroupPaths paths{.v2 = directory, .v1 = {}};
        (void)os::kill_cgroup(paths).has_value();
        (void)os::remove_cgroup(paths).has_value();
    }
}

/// A process that outlives this one however it ends, and takes away what it left on the host.
void start_guardian()
{
    const std::string prefix = host_name_prefix();
    std::array<int, 2> alive{};
    if (::pipe2(alive.data(), O_CLOEXEC) < 0) return;
    const pid_t pid = ::fork();
    if (pid != 0) {
        ::close(alive[0]);
        return; // the writing end stays open as long as this process lives
    }
    ::close(alive[1]);
    ::setsid();
    for (const int fd : {0, 1, 2})
        ::close(fd);
    char byte = 0;
    while (::read(alive[0], &byte, 1) < 0 && errno == EINTR)
        ;
    remove_left_cgroups(prefix);
    remove_left_directories(prefix + "-");
    ::_exit(0);
}

} // namespace

void take_own_mounts()
{
    if (::geteuid() != 0) {
        problem() = "needs root";
    } else if (::unshare(CLONE_NEWNS) < 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0) {
        problem() = std::string{"needs a mount namespace: "} + std::strerror(errno);
    } else {
        problem().clear();
    }
}

const std::string& own_mounts_problem() { return problem(); }

} // namespace coppice::test

int main(int argc, char** argv)
{
    testing::InitGoogleTest(&argc, argv);
    coppice::test::start_guardian();
    coppice::test::take_own_mounts();
    const int status = RUN_ALL_TESTS();
    const auto* const all = testing::UnitTest::GetInstance();
    const bool nothing_ran = all->test_to_run_count() > 0 && all->skipped_test_count() == all->test_to_run_count();
    if (status == 0 && nothing_ran) {
        std::cout << "skipped: no test of this program could run here" << std::endl;
        return coppice::test::kSkipped;
    }
    return status;
}
