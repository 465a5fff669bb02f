// Needs: nothing beyond clone3 and pidfds; CgroupTest is in cgroup_test.cpp.

#include "coppice/os/process.h"

#include "coppice/os/executable.h"
#include "coppice/os/file.h"
#include "coppice/test/child.h"
#include "coppice/test/expect.h"
#include "coppice/test/needs.h"
#include "coppice/test/temp_dir.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>

namespace coppice::os {
namespace {

using test::fails_as;
using test::in_child;
using test::succeeds;
using test::value_of;

Process sleeper()
{
    return value_of(fork_process({}, [] {
        for (;;)
            ::pause();
        return 0;
    }));
}

bool is_gone(pid_t pid) { return ::kill(pid, 0) < 0 && errno == ESRCH; }

TEST(ProcessTest, IsKilledAndReapedWhenItsOwnerGoes)
{
    pid_t pid = -1;
    {
        const Process child = sleeper();
        pid = child.pid();
        ASSERT_FALSE(is_gone(pid));
    }
    EXPECT_TRUE(is_gone(pid)); // a zombie would still be there
}

TEST(ProcessTest, AssignmentEndsTheOneBefore)
{
    Process child = sleeper();
    const pid_t first = child.pid();
    child = sleeper();
    EXPECT_TRUE(is_gone(first));
    EXPECT_FALSE(is_gone(child.pid()));
    Process moved = std::move(child);
    EXPECT_FALSE(is_gone(moved.pid()));
}

TEST(ProcessTest, DetachedItLivesOn)
{
    pid_t pid = -1;
    {
        Process child = sleeper();
        pid = child.detach();
    }
    EXPECT_FALSE(is_gone(pid));
    ::kill(pid, SIGKILL);
    EXPECT_EQ(::waitpid(pid, nullptr, 0), pid);
}

TEST(ProcessTest, Statuses)
{
    auto child = value_of(fork_process({}, [] { return 42; }));
    EXPECT_EQ(value_of(child.wait()).code, 42);
    Process killed = sleeper();
    EXPECT_FALSE(value_of(killed.poll()).has_value());
    ASSERT_TRUE(succeeds(killed.send(SIGTERM)));
    const auto status = value_of(killed.wait());
    EXPECT_EQ(status.code, 128 + SIGTERM);
    EXPECT_TRUE(status.by_signal);
}

TEST(ProcessRefTest, FindsTheProcessThatWasMeant)
{
    Process child = sleeper();
    const auto start = value_of(process_start_time(child.pid()));
    ASSERT_TRUE(start.has_value());
    auto found = value_of(ProcessRef::find(child.pid(), *start));
    ASSERT_TRUE(found.has_value());
    EXPECT_FALSE(value_of(found->wait_gone(0)));
    ASSERT_TRUE(succeeds(found->send(SIGKILL)));
    EXPECT_TRUE(value_of(found->wait_gone(5000)));
    EXPECT_FALSE(value_of(ProcessRef::find(child.pid(), *start)).has_value()) << "a zombie is no process any more";
    ASSERT_TRUE(succeeds(child.wait()));
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "", found->send(SIGKILL)));
    EXPECT_FALSE(value_of(ProcessRef::find(child.pid(), *start)).has_value());
}

TEST(ProcessRefTest, ANumberGivenOutAgainIsNotThatProcess)
{
    const Process child = sleeper();
    const auto start = value_of(process_start_time(child.pid())).value();
    EXPECT_FALSE(value_of(ProcessRef::find(child.pid(), start + 1)).has_value());
    EXPECT_FALSE(value_of(ProcessRef::find(child.pid(), start - 1)).has_value());
    EXPECT_FALSE(value_of(ProcessRef::find(child.pid(), 0)).has_value());
    for (const pid_t nobody : {0, -1, 0x7fffffff})
        EXPECT_FALSE(value_of(ProcessRef::find(nobody, start)).has_value()) << nobody;
}

TEST(ProcessRefTest, AThreadIsNoProcess)
{
    std::atomic<pid_t> number = 0;
    std::jthread thread{[&number](const std::stop_token& stop) {
        number = ::gettid();
        number.notify_one();
        while (!stop.stop_requested())
            ::usleep(1000);
    }};
    number.wait(0);
    EXPECT_FALSE(value_of(open_process(number)).has_value());
    const auto start = value_of(process_start_time(number)).value();
    EXPECT_FALSE(value_of(ProcessRef::find(number, start)).has_value());
}

TEST(ProcessRefTest, AGroupIsNoProcess)
{
    // A number that only names a process group any more: Linux before 6.15 says EINVAL of it.
    Process leader = value_of(fork_process({}, [] {
        ::setpgid(0, 0);
        ::raise(SIGSTOP);
        return 0;
    }));
    const pid_t number = leader.pid();
    ASSERT_EQ(::waitpid(number, nullptr, WUNTRACED), number);
    Process member = sleeper();
    ASSERT_EQ(::setpgid(member.pid(), number), 0);
    const auto start = value_of(process_start_time(number)).value();
    ASSERT_TRUE(succeeds(leader.send(SIGKILL)));
    ASSERT_TRUE(succeeds(leader.wait()));
    ASSERT_EQ(::kill(-number, 0), 0) << "the group is there";
    EXPECT_FALSE(value_of(open_process(number)).has_value());
    EXPECT_FALSE(value_of(ProcessRef::find(number, start)).has_value());
}

TEST(ProcessRefTest, StartTimeWhateverTheName)
{
    EXPECT_TRUE(in_child(0, [] {
        // Whatever its name says, /proc/PID/stat is read right.
        const auto before = value_of(process_start_time(::getpid()));
        for (const char* const name : {"a) R 1 2 3", "(((", ") Z 0 0", " "}) {
            ::prctl(PR_SET_NAME, name);
            EXPECT_EQ(value_of(process_start_time(::getpid())), before) << name;
        }
    }));
}

TEST(ProcessTest, DiesWithItsParent)
{
    const test::TempDir directory;
    EXPECT_TRUE(in_child(0, [&] {
        auto child = value_of(fork_process({}, [&] {
            if (!die_with_parent(SIGKILL)) return 1;
            test::write_text(directory / "ready", "");
            for (;;)
                ::pause();
            return 0;
        }));
        EXPECT_TRUE(test::wait_until([&] { return directory.exists("ready"); }));
        test::write_text(directory / "pid", std::to_string(child.detach()));
    }));
    const pid_t pid = std::stoi(directory.read("pid"));
    // Its new parent may be slow to reap it: a zombie has no start time.
    EXPECT_TRUE(test::wait_until([&] { return !value_of(process_start_time(pid)).has_value(); }));
}

TEST(DescriptorTest, AllButTheKeptOnesAreClosed)
{
    EXPECT_TRUE(in_child(0, [] {
        for (int fd = 20; fd < 40; ++fd)
            ASSERT_EQ(::dup2(0, fd), fd);
        ASSERT_TRUE(succeeds(close_all_but(20, {39, 25, -1, 3, 25, 26})));
        std::string open;
        for (int fd = 20; fd < 60; ++fd)
            if (::fcntl(fd, F_GETFD) >= 0) open += std::to_string(fd) + " ";
        EXPECT_EQ(open, "25 26 39 ");
        EXPECT_GE(::fcntl(0, F_GETFD), 0);
        ASSERT_TRUE(succeeds(close_all_but(20, {})));
        EXPECT_LT(::fcntl(39, F_GETFD), 0);
    }));
}

/// Whether a program's file can be written by somebody who opened /proc/PID/exe while it ran: CVE-2019-5736.
bool can_be_overwritten(Process program)
{
    const auto exe = value_of(open_at(kCwd, "/proc/" + std::to_string(program.pid()) + "/exe", O_RDONLY));
    program = Process{}; // as long as it runs, nobody may write (ETXTBSY)
    return open_at(kCwd, path_of(exe.get()), O_WRONLY).has_value();
}

class ExecutableTest : public testing::Test {
protected:
    ExecutableTest()
    {
        program_ = directory_ / "program";
        std::filesystem::copy_file(COPPICE_PROTECTED_PROGRAM, program_);
    }
    /// Starts the copy and waits until it says that it runs.
    Process start(const std::function<void(char* const*)>& execute) const
    {
        auto child = value_of(fork_process({}, [&] {
            const std::string ready = directory_ / "ready";
            char* const arguments[] = {const_cast<char*>("program"), const_cast<char*>(mode_.c_str()),
                                       const_cast<char*>(ready.c_str()), nullptr};
            execute(arguments);
            return 1;
        }));
        EXPECT_TRUE(test::wait_until([&] { return directory_.exists("ready"); }));
        return child;
    }
    test::TempDir directory_;
    std::string program_, mode_ = "plain";
};

TEST_F(ExecutableTest, WithoutProtectionTheAttackWorks)
{
    EXPECT_TRUE(can_be_overwritten(start([&](char* const* arguments) { ::execv(program_.c_str(), arguments); })));
}

TEST_F(ExecutableTest, AProgramProtectsItself)
{
    COPPICE_NEEDS(Root);
    mode_ = "protect";
    EXPECT_FALSE(can_be_overwritten(start([&](char* const* arguments) { ::execv(program_.c_str(), arguments); })));
}

TEST_F(ExecutableTest, AProgramIsStartedProtected)
{
    COPPICE_NEEDS(Root);
    EXPECT_FALSE(can_be_overwritten(start([&](char* const* arguments) {
        const auto failed = execute_protected(program_, arguments, environ);
        ADD_FAILURE() << failed.error().line();
    })));
}

TEST_F(ExecutableTest, WhatIsNoProgramIsAnError)
{
    COPPICE_NEEDS(Root);
    char* const arguments[] = {nullptr};
    EXPECT_TRUE(
        fails_as(ErrorKind::NotFound, "missing", execute_protected(directory_ / "missing", arguments, environ)));
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "no-such-companion", find_companion("no-such-companion")));
}

} // namespace
} // namespace coppice::os
