#include "coppice/test/child.h"

#include <cstdio>
#include <ctime>
#include <exception>
#include <fcntl.h>
#include <unistd.h>

namespace coppice::test {

namespace {

testing::AssertionResult run(const os::CloneOptions& options, const std::function<void()>& body)
{
    std::fflush(nullptr);
    auto child = os::fork_process(options, [&] {
        bool failed = false;
        try {
            body();
        } catch (const std::exception& error) {
            std::printf("exception in a child: %s\n", error.what());
            failed = true;
        }
        std::fflush(nullptr);
        return failed || testing::Test::HasFailure() ? 1 : 0;
    });
    if (!child) return testing::AssertionFailure() << child.error().line();
    const auto status = child->wait();
    if (!status) return testing::AssertionFailure() << status.error().line();
    if (status->code == 0) return testing::AssertionSuccess();
    return testing::AssertionFailure() << "the child ended with status " << status->code << ", see above";
}

} // namespace

testing::AssertionResult in_child(std::uint64_t flags, const std::function<void()>& body)
{
    return run({.flags = flags}, body);
}

testing::AssertionResult in_child_of_cgroup(int cgroup, const std::function<void()>& body)
{
    return run({.cgroup = cgroup}, body);
}

int run_program(const std::vector<std::string>& args)
{
    auto child = os::fork_process({}, [&] {
        const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
        for (const int fd : {0, 1, 2})
            ::dup2(null, fd);
        std::vector<char*> pointers;
        for (const std::string& arg : args)
            pointers.push_back(const_cast<char*>(arg.c_str()));
        pointers.push_back(nullptr);
        ::execvp(pointers.front(), pointers.data());
        return 127;
    });
    if (!child) return -1;
    const auto status = child->wait();
    return status ? status->code : -1;
}

bool wait_until(const std::function<bool()>& condition, int milliseconds)
{
    for (int waited = 0; waited <= milliseconds; waited += 2) {
        if (condition()) return true;
        const timespec pause{.tv_sec = 0, .tv_nsec = 2'000'000};
        ::nanosleep(&pause, nullptr);
    }
    return condition();
}

} // namespace coppice::test
